"""Keeping a subject out, at once and on every replica: operators in their tenant, administrators among themselves."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import audit, blocked_subjects
from libs.database.blocked_subjects import BlockRow
from libs.database.engine import Database
from libs.domain.errors import Conflict, NotFound
from services.api.answers import Answer
from services.api.dependencies import Call
from services.api.operations.idempotency import answer_once
from services.api.schemas.users import block_json


async def block_user(call: Call, subject: str, reason: str) -> Answer:
    """From now on nobody of this subject comes in; one that is blocked already stays blocked as it is."""
    if subject == call.caller.subject:
        raise Conflict("You cannot block yourself. Ask another operator to do it.")

    async def work(connection: AsyncConnection) -> Answer:
        before = await blocked_subjects.find(connection, subject)
        await blocked_subjects.block(connection, call.tenant_id, subject, reason, call.caller.subject)
        row = await blocked_subjects.find(connection, subject)
        if row is None:
            raise Conflict(f"A tenant can block {blocked_subjects.MOST:,} users at most. Unblock some of them first.")
        if before is None:
            await _note(connection, call, "block_user", subject, None, {"reason": reason})
        return Answer(200, block_json(row))

    answer = await answer_once(call.services.database, call.caller, call.key, work)
    call.services.tenancy.forget()
    return answer


async def unblock_user(call: Call, subject: str) -> Answer:
    """Let a subject in again; the answer is the block that ended."""

    async def work(connection: AsyncConnection) -> Answer:
        row = await blocked_subjects.unblock(connection, subject)
        if row is None:
            raise NotFound("This user is not blocked.")
        await _note(connection, call, "unblock_user", subject, {"reason": row.reason, "by": row.by}, None)
        return Answer(200, block_json(row))

    answer = await answer_once(call.services.database, call.caller, call.key, work)
    call.services.tenancy.forget()
    return answer


async def list_blocks(database: Database, tenant_id: UUID, after: str | None, limit: int) -> list[BlockRow]:
    async with database.tenant(tenant_id) as connection:
        return await blocked_subjects.page(connection, after, limit)


async def _note(
    connection: AsyncConnection, call: Call, action: str, subject: str, before: object, after: object
) -> None:
    await audit.append(
        connection,
        actor=call.caller.subject,
        source=call.caller.source,
        action=action,
        target=f"user/{subject}",
        before=before,
        after=after,
    )
