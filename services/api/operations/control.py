"""Asking a run to pause, to go on or to stop: written first, then signalled."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.contracts.workflow import Wake
from libs.database import audit, runs
from libs.database.runs import RunRow
from libs.domain.errors import Conflict, RunFinished
from libs.domain.texts import dump
from libs.observability.metrics import RUNS_ENDED
from services.api.answers import Answer
from services.api.dependencies import Call
from services.api.operations.admission import admit_next
from services.api.operations.idempotency import answer_once
from services.api.operations.runs import missing_run
from services.api.schemas.runs import run_json
from services.api.services import Services

Verb = Literal["pause", "resume", "cancel"]
WANTED: dict[Verb, str] = {"pause": "paused", "resume": "run", "cancel": "cancelled"}


async def control_run(call: Call, run_id: UUID, verb: Verb, reason: str | None) -> Answer:
    """Write what is wanted of the run; asking for what is wanted already changes nothing."""
    changed: list[RunRow] = []
    data: dict[str, str] = {"by": call.caller.subject}
    if reason is not None and verb != "resume":
        data["reason"] = reason

    async def work(connection: AsyncConnection) -> Answer:
        signalled = await runs.signal(connection, run_id, call.caller.sees_only, verb, dump(data))
        if signalled is None:
            raise missing_run()
        row = signalled.row
        if signalled.changed:
            changed.append(row)
            await _note_control(connection, call, row, verb, reason)
        elif row.finished_at is not None:
            raise RunFinished(f"The run is {row.status}; nothing can be asked of it any longer.")
        elif row.desired != WANTED[verb]:
            raise Conflict(f"The run is being cancelled; it cannot {verb} any longer.")
        return Answer(202, run_json(row), f"/v1/runs/{run_id}")

    answer = await answer_once(call.services.database, call.caller, call.key, work)
    for row in changed:
        if row.finished_at is not None:  # it never started
            RUNS_ENDED.labels(row.status, "").inc()
        _tell(call.services, call.tenant_id, row, stop=verb != "resume")
    if changed and verb == "resume":
        await admit_next(call.services, call.tenant_id)
    return answer


async def _note_control(connection: AsyncConnection, call: Call, row: RunRow, verb: Verb, reason: str | None) -> None:
    """Control of one's own run is no administrative act; its log has it."""
    if row.created_by == call.caller.subject:
        return
    await audit.append(
        connection,
        actor=call.caller.subject,
        source=call.caller.source,
        action=f"{verb}_run",
        target=f"run/{row.id}",
        before={"created_by": row.created_by},
        after={"desired": WANTED[verb], "status": row.status, **({"reason": reason} if reason else {})},
    )


def _tell(services: Services, tenant_id: UUID, row: RunRow, *, stop: bool) -> None:
    services.stream.wake(tenant_id, row.id, row.last_seq)
    services.stream.control(tenant_id, row.id)
    services.starts.wake(tenant_id, row.id, row.deadline_at, Wake(row.control_seq, stop=stop))
