"""Rows of tenants' secrets: sealed values under their names."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

_COLUMNS = "name, created_at, created_by, updated_at, updated_by"
_PUT = Statement(
    f"""
    INSERT INTO secrets (tenant_id, name, key_id, sealed, created_by, updated_by)
    VALUES (CAST(:tenant AS uuid), CAST(:name AS text), CAST(:key_id AS text), CAST(:sealed AS bytea),
            CAST(:by AS text), CAST(:by AS text))
    ON CONFLICT (tenant_id, name) DO UPDATE
        SET key_id = excluded.key_id, sealed = excluded.sealed,
            updated_at = clock_timestamp(), updated_by = excluded.updated_by
    RETURNING {_COLUMNS}
    """
)
_LOCK = Statement(f"SELECT {_COLUMNS} FROM secrets WHERE name = CAST(:name AS text) FOR UPDATE")
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM secrets WHERE CAST(:after AS text) IS NULL OR name > CAST(:after AS text)
    ORDER BY name LIMIT CAST(:limit AS int)
    """
)
_DELETE = Statement(f"DELETE FROM secrets WHERE name = CAST(:name AS text) RETURNING {_COLUMNS}")
_PRESENT = Statement("SELECT name FROM secrets WHERE name = ANY(CAST(:names AS text[]))")
_READ = Statement("SELECT name, key_id, sealed FROM secrets WHERE name = ANY(CAST(:names AS text[]))")
_TENANTS_TO_RESEAL = Statement(
    """
    SELECT DISTINCT tenant_id FROM secrets
    WHERE key_id <> CAST(:newest AS text) AND tenant_id > CAST(:after AS uuid)
    ORDER BY tenant_id LIMIT CAST(:limit AS int)
    """
)
_TO_RESEAL = Statement(
    """
    SELECT name, key_id, sealed FROM secrets
    WHERE key_id <> CAST(:newest AS text) AND name > CAST(:after AS text)
    ORDER BY name LIMIT CAST(:limit AS int) FOR UPDATE
    """
)
_RESEAL = Statement(
    """
    UPDATE secrets SET key_id = CAST(:key_id AS text), sealed = CAST(:sealed AS bytea)
    WHERE name = CAST(:name AS text)
    """
)


class SecretRow(NamedTuple):
    """What is known of a secret; its value is not."""

    name: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class SealedRow(NamedTuple):
    name: str
    key_id: str
    sealed: bytes


async def lock(connection: AsyncConnection, name: str) -> SecretRow | None:
    """The secret as it is, for as long as the transaction lasts."""
    row = await _LOCK.one(connection, name=name)
    return SecretRow._make(row) if row else None


async def put(
    connection: AsyncConnection, tenant_id: UUID, name: str, key_id: str, sealed: bytes, by: str
) -> SecretRow:
    """Make or replace."""
    row = await _PUT.one(connection, tenant=tenant_id, name=name, key_id=key_id, sealed=sealed, by=by)
    return SecretRow._make(row)


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[SecretRow]:
    """By name."""
    return [SecretRow._make(row) for row in await _PAGE.run(connection, after=after, limit=limit)]


async def delete(connection: AsyncConnection, name: str) -> SecretRow | None:
    """What it was; None when there was none."""
    row = await _DELETE.one(connection, name=name)
    return SecretRow._make(row) if row else None


async def present(connection: AsyncConnection, names: Sequence[str]) -> set[str]:
    """Which of these names there are."""
    return {row[0] for row in await _PRESENT.run(connection, names=list(names))}


async def read(connection: AsyncConnection, names: Sequence[str]) -> list[SealedRow]:
    return [SealedRow._make(row) for row in await _READ.run(connection, names=list(names))]


async def tenants_to_reseal(connection: AsyncConnection, newest: str, after: UUID, limit: int) -> list[UUID]:
    """Tenants with secrets under another key than the newest, as maintenance."""
    rows = await _TENANTS_TO_RESEAL.run(connection, newest=newest, after=after, limit=limit)
    return [UUID(str(row[0])) for row in rows]


async def to_reseal(connection: AsyncConnection, newest: str, after: str, limit: int) -> list[SealedRow]:
    """Locked: nobody changes them until the transaction ends."""
    rows = await _TO_RESEAL.run(connection, newest=newest, after=after, limit=limit)
    return [SealedRow._make(row) for row in rows]


async def reseal(connection: AsyncConnection, name: str, key_id: str, sealed: bytes) -> None:
    """The same value under another key: nobody changed the secret."""
    await _RESEAL.run(connection, name=name, key_id=key_id, sealed=sealed)
