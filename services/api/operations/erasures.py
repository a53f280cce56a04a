"""Asking for the erasure of a run or of a user's data, and how far an erasure has come; workers do it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import audit, erasures, runs
from libs.database.erasures import ErasureRow
from libs.domain.errors import Conflict, NotFound
from services.api.answers import Answer
from services.api.callers import Caller
from services.api.dependencies import Call
from services.api.operations.idempotency import answer_once
from services.api.operations.runs import missing_run
from services.api.schemas.erasures import erasure_json


async def delete_run(call: Call, run_id: UUID) -> Answer:
    """Only what has ended: a run that may still write is cancelled first, by whoever wants that."""
    async with call.services.database.tenant(call.tenant_id) as connection:
        run = await runs.find(connection, run_id, call.caller.sees_only)
        if run is None:
            raise missing_run()
        if run.finished_at is None:
            raise Conflict(f"The run is {run.status}. Cancel it, and delete it when it has ended.")
        row, new = await _add(connection, call, "run", run_id=run_id)
        if new:
            before = {"created_by": run.created_by, "status": run.status, "agent": run.agent}
            await _note(connection, call, "delete_run", f"run/{run_id}", before, {"erasure": row.id})
    return _accepted(row)


async def erase_user_data(call: Call, subject: str) -> Answer:
    """Runs, files and kept answers of a subject, whatever of them there is; runs that have not ended are cancelled."""
    async with call.services.database.tenant(call.tenant_id) as connection:
        row, new = await _add(connection, call, "subject", subject=subject)
        if new:
            await _note(connection, call, "erase_user_data", f"user/{subject}", None, {"erasure": row.id})
    return _accepted(row)


async def list_erasures(call: Call, before: UUID | None, limit: int) -> list[ErasureRow]:
    async with call.services.database.tenant(call.tenant_id) as connection:
        return await erasures.page(connection, _whose(call.caller), before, limit)


async def get_erasure(call: Call, erasure_id: UUID) -> ErasureRow:
    async with call.services.database.tenant(call.tenant_id) as connection:
        return await _find(connection, call.caller, erasure_id)


async def check_erasure(call: Call, erasure_id: UUID) -> Answer:
    """Have it looked at again: what is found, against expectation, is erased."""

    async def work(connection: AsyncConnection) -> Answer:
        found = await _find(connection, call.caller, erasure_id)
        row = await erasures.reopen(connection, erasure_id)
        if row is not None:
            await _note(connection, call, "check_erasure", f"erasure/{erasure_id}", None, None)
        return _accepted(row or found)

    return await answer_once(call.services.database, call.caller, call.key, work)


async def _add(connection: AsyncConnection, call: Call, kind: str, **what: Any) -> tuple[ErasureRow, bool]:
    return await erasures.add(connection, kind, by=call.caller.subject, source=call.caller.source, **what)


async def _find(connection: AsyncConnection, caller: Caller, erasure_id: UUID) -> ErasureRow:
    row = await erasures.find(connection, erasure_id, _whose(caller))
    if row is None:
        raise NotFound("There is no erasure with this id, or it is not yours.")
    return row


def _whose(caller: Caller) -> str | None:
    """The subject whose erasures are all that a caller sees: a user's own."""
    return None if caller.roles & {"admin", "operator"} else caller.subject


def _accepted(row: ErasureRow) -> Answer:
    return Answer(202, erasure_json(row), f"/v1/erasures/{row.id}")


async def _note(connection: AsyncConnection, call: Call, action: str, target: str, before: Any, after: Any) -> None:
    await audit.append(
        connection,
        actor=call.caller.subject,
        source=call.caller.source,
        action=action,
        target=target,
        before=before,
        after=after,
    )
