"""Subjects that may not come in, whatever their tokens say; those of the nil tenant are administrators."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

MOST = 10_000  # of a tenant: all of them are read twice a second on every replica
_COLUMNS = "subject, reason, by, at"
# The first block stays as it is: a second one adds nothing.
_BLOCK = Statement(
    """
    INSERT INTO blocked_subjects (tenant_id, subject, reason, by)
    SELECT CAST(:tenant AS uuid), CAST(:subject AS text), CAST(:reason AS text), CAST(:by AS text)
    WHERE (SELECT count(*) FROM blocked_subjects WHERE tenant_id = CAST(:tenant AS uuid)) < CAST(:most AS int)
    ON CONFLICT DO NOTHING RETURNING subject
    """
)
_UNBLOCK = Statement(
    f"DELETE FROM blocked_subjects WHERE subject = CAST(:subject AS text) RETURNING {_COLUMNS}",
)
_FIND = Statement(f"SELECT {_COLUMNS} FROM blocked_subjects WHERE subject = CAST(:subject AS text)")
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM blocked_subjects
    WHERE CAST(:after AS text) IS NULL OR subject > CAST(:after AS text)
    ORDER BY subject LIMIT CAST(:limit AS int)
    """
)
_OF_TENANT = Statement("SELECT subject FROM blocked_subjects WHERE tenant_id = CAST(:tenant AS uuid)")


class BlockRow(NamedTuple):
    subject: str
    reason: str
    by: str
    at: datetime


async def block(connection: AsyncConnection, tenant_id: UUID, subject: str, reason: str, by: str) -> bool:
    """Whether the subject was not blocked before, and is now: a tenant blocks no more than `MOST`."""
    values = {"tenant": tenant_id, "subject": subject, "reason": reason, "by": by, "most": MOST}
    return await _BLOCK.one(connection, **values) is not None


async def unblock(connection: AsyncConnection, subject: str) -> BlockRow | None:
    """The block that was taken away."""
    row = await _UNBLOCK.one(connection, subject=subject)
    return BlockRow._make(row) if row else None


async def find(connection: AsyncConnection, subject: str) -> BlockRow | None:
    row = await _FIND.one(connection, subject=subject)
    return BlockRow._make(row) if row else None


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[BlockRow]:
    """In the order of the subjects."""
    return [BlockRow._make(row) for row in await _PAGE.run(connection, after=after, limit=limit)]


async def subjects_of(connection: AsyncConnection, tenant_id: UUID) -> frozenset[str]:
    """All blocked subjects of a tenant; read as maintenance."""
    return frozenset(row[0] for row in await _OF_TENANT.run(connection, tenant=tenant_id))
