"""Scoring runs: kept here, under the name of whoever scores; an observer is shown them later."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import runs, scores
from libs.database.scores import ScoreRow
from services.api.answers import Answer
from services.api.callers import Caller
from services.api.dependencies import Call
from services.api.operations.idempotency import answer_once
from services.api.operations.runs import missing_run
from services.api.schemas.scores import ScoreCreate, score_json
from services.api.services import Services


async def score_run(call: Call, run_id: UUID, wanted: ScoreCreate) -> Answer:
    """A new score of a run, whether that has ended or not."""

    async def work(connection: AsyncConnection) -> Answer:
        row = await scores.add(
            connection,
            run_id,
            call.caller.sees_only,
            name=wanted.name,
            value=wanted.value,
            comment=wanted.comment,
            by=call.caller.subject,
        )
        if row is None:
            raise missing_run()
        return Answer(201, score_json(row))

    return await answer_once(call.services.database, call.caller, call.key, work)


async def list_scores(
    services: Services, caller: Caller, run_id: UUID, before: UUID | None, limit: int
) -> list[ScoreRow]:
    async with services.database.tenant(caller.tenant_id) as connection:
        found = await scores.page(connection, run_id, before, limit)
        sure = bool(found) and caller.sees_only is None
        if not sure and await runs.find(connection, run_id, caller.sees_only) is None:
            raise missing_run()
        return found
