"""How much a tenant has of what its plan limits by number, counted by one transaction at a time."""

# ruff: noqa: S608 - what is put into the statements are constants of this module

from __future__ import annotations

from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

Holding = Literal["agents", "secrets", "service_accounts", "users"]
_ROWS: dict[Holding, str] = {
    "agents": "agents",
    "secrets": "secrets",
    "service_accounts": "service_accounts",
    "users": "provisioning_steps WHERE kind = 'user' AND step = 'wanted'",
}
_COUNT = {
    holding: Statement(f"SELECT count(*) FROM (SELECT FROM {rows} LIMIT CAST(:most AS bigint) + 1) AS counted")
    for holding, rows in _ROWS.items()
}
_LOCK = Statement(
    "SELECT pg_advisory_xact_lock(hashtextextended('holdings ' || CAST(CAST(:tenant AS uuid) AS text), 0))"
)


async def exceed(connection: AsyncConnection, tenant_id: UUID, holding: Holding, most: int) -> bool:
    """Whether there are more than so many, with what this transaction has added; as the tenant.

    Nobody else is told until the transaction ends. The lock is taken by a statement before the one that counts, which
    sees what was committed until then.
    """
    await _LOCK.run(connection, tenant=tenant_id)
    row = await _COUNT[holding].one(connection, most=most)
    return int(row[0]) > most
