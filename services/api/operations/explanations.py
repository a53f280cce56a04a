"""Why a run stands where it stands, read from its row, its log and the table of workers alone."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from libs.database import explaining
from libs.domain.explanation.explanations import explain
from libs.domain.explanation.facts import Facts
from services.api.callers import Caller
from services.api.operations.runs import missing_run
from services.api.roles import ROLES
from services.api.schemas.explanations import explanation_json
from services.api.services import Services


async def explain_run(services: Services, caller: Caller, run_id: UUID) -> str:
    """The explanation as JSON text; it needs neither Temporal nor Redis nor a worker."""
    dead_after = services.worker_dead_after
    async with services.database.tenant(caller.tenant_id) as connection:
        run = await explaining.run(connection, run_id, caller.sees_only)
        if run is None:
            raise missing_run()
        alive = await explaining.alive(connection, services.task_queue, dead_after)
        log = await explaining.log(connection, run_id, run, run.now - timedelta(seconds=dead_after))
    facts = Facts(run, log, alive, dead_after, caller.subject, _allowed(caller))
    return explanation_json(facts, explain(facts))


def _allowed(caller: Caller) -> frozenset[str]:
    return frozenset(operation for operation, roles in ROLES.items() if roles & caller.roles)
