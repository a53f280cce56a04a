"""What observers refused of runs, and having it sent again, with the scores that were passed over; workers do that."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import audit, refusals, score_showing
from libs.database.refusals import Refusal
from libs.domain.errors import NotFound
from services.api.answers import Answer
from services.api.dependencies import Call
from services.api.operations.idempotency import answer_once
from services.api.schemas.shared import to_json


async def list_refused(call: Call, before: UUID | None, limit: int) -> list[Refusal]:
    async with call.services.database.tenant(call.tenant_id) as connection:
        return await refusals.page(connection, before, limit)


async def retry_refused(call: Call, run_id: UUID | None) -> Answer:
    """Ask for another attempt; of one run only if something of it was refused or passed over."""

    async def work(connection: AsyncConnection) -> Answer:
        count = await refusals.ask(connection, run_id)
        count += await score_showing.take_up(connection, run_id, most=refusals.MOST_ASKED)
        if run_id is not None and not count:
            raise NotFound("Nothing of a run with this id was refused or passed over, or the run is not yours.")
        if count:
            await audit.append(
                connection,
                actor=call.caller.subject,
                source=call.caller.source,
                action="retry_refused_traces",
                target=f"run/{run_id}" if run_id else "traces",
                after={"items": count},
            )
        return Answer(202, to_json({"items": count}))

    return await answer_once(call.services.database, call.caller, call.key, work)
