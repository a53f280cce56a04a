"""What was done at the issuer for a tenant, step by step, so that repeating after a failure goes on where it stood."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

USER = "user"

_RECORD = Statement(
    """
    INSERT INTO provisioning_steps (tenant_id, kind, name, step, result, by)
    VALUES (CAST(:tenant AS uuid), CAST(:kind AS text), CAST(:name AS text), CAST(:step AS text),
            CAST(:result AS text), CAST(:by AS text))
    ON CONFLICT DO NOTHING
    """
)
_DONE = Statement(
    """
    SELECT step, result, at FROM provisioning_steps WHERE kind = CAST(:kind AS text) AND name = CAST(:name AS text)
    """
)
_NAMED = Statement(
    """
    SELECT name FROM provisioning_steps
    WHERE kind = CAST(:kind AS text) AND step = CAST(:step AS text) AND result = CAST(:result AS text)
    """
)
_FORGET = Statement("DELETE FROM provisioning_steps WHERE kind = CAST(:kind AS text) AND name = CAST(:name AS text)")


class StepRow(NamedTuple):
    step: str
    result: str
    at: datetime


async def record(
    connection: AsyncConnection, tenant_id: UUID, kind: str, name: str, step: str, result: str, by: str
) -> None:
    """A step is done; what is recorded already stays."""
    await _RECORD.run(connection, tenant=tenant_id, kind=kind, name=name, step=step, result=result, by=by)


async def done(connection: AsyncConnection, kind: str, name: str) -> dict[str, StepRow]:
    """The steps that were recorded of one thing."""
    return {row[0]: StepRow._make(row) for row in await _DONE.run(connection, kind=kind, name=name)}


async def names(connection: AsyncConnection, kind: str, step: str, result: str) -> list[str]:
    """Of which things a step had this result."""
    return [row[0] for row in await _NAMED.run(connection, kind=kind, step=step, result=result)]


async def forget(connection: AsyncConnection, kind: str, name: str) -> None:
    await _FORGET.run(connection, kind=kind, name=name)
