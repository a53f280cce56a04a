"""Service accounts: which client of the issuer acts for which tenant, in which role; we say so, never the client."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

CREATING, ACTIVE, DELETING = "creating", "active", "deleting"

_COLUMNS = "id, name, role, client_id, status, created_at, created_by, rotated_at"
_ADD = Statement(
    f"""
    INSERT INTO service_accounts (tenant_id, name, role, created_by)
    VALUES (CAST(:tenant AS uuid), CAST(:name AS text), CAST(:role AS text), CAST(:by AS text))
    ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
    """
)
_FIND = Statement(f"SELECT {_COLUMNS} FROM service_accounts WHERE name = CAST(:name AS text)")
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM service_accounts
    WHERE status <> 'deleting' AND (CAST(:after AS text) IS NULL OR name > CAST(:after AS text))
    ORDER BY name LIMIT CAST(:limit AS int)
    """
)
_NAMES = Statement("SELECT name FROM service_accounts ORDER BY name LIMIT CAST(:limit AS int)")
_BIND = Statement(
    f"""
    UPDATE service_accounts SET client_id = CAST(:client AS text), manage_key = CAST(:key AS text),
        manage_token = CAST(:token AS bytea), status = 'active',
        rotated_at = CASE WHEN status = 'active' THEN clock_timestamp() END
    WHERE id = CAST(:id AS uuid) AND status <> 'deleting' RETURNING {_COLUMNS}
    """
)
_END = Statement(
    f"UPDATE service_accounts SET status = 'deleting' WHERE name = CAST(:name AS text) RETURNING {_COLUMNS}"
)
_MANAGE = Statement("SELECT manage_key, manage_token FROM service_accounts WHERE id = CAST(:id AS uuid)")
_TENANTS = Statement(
    """
    SELECT DISTINCT tenant_id FROM service_accounts WHERE tenant_id > CAST(:after AS uuid)
    ORDER BY tenant_id LIMIT CAST(:limit AS int)
    """
)
_TO_RESEAL = Statement(
    """
    SELECT id, manage_key, manage_token FROM service_accounts
    WHERE manage_key <> CAST(:newest AS text) AND id > CAST(:after AS uuid)
    ORDER BY id LIMIT CAST(:limit AS int) FOR UPDATE
    """
)
_RESEAL = Statement(
    """
    UPDATE service_accounts SET manage_key = CAST(:key AS text), manage_token = CAST(:token AS bytea)
    WHERE id = CAST(:id AS uuid)
    """
)
_REMOVE = Statement("DELETE FROM service_accounts WHERE id = CAST(:id AS uuid) AND status = 'deleting'")
_BOUND = Statement(
    """
    SELECT tenant_id, id, role FROM service_accounts WHERE client_id = CAST(:client AS text) AND status = 'active'
    """
)


class AccountRow(NamedTuple):
    """`client_id` is the `azp` of its tokens; None until the issuer has made the client."""

    id: UUID
    name: str
    role: str
    client_id: str | None
    status: str
    created_at: datetime
    created_by: str
    rotated_at: datetime | None


class BoundRow(NamedTuple):
    """For whom a client acts."""

    tenant_id: UUID
    id: UUID
    role: str


async def add(connection: AsyncConnection, tenant_id: UUID, name: str, role: str, by: str) -> AccountRow | None:
    """None when the tenant has one of this name."""
    row = await _ADD.one(connection, tenant=tenant_id, name=name, role=role, by=by)
    return AccountRow._make(row) if row else None


async def find(connection: AsyncConnection, name: str) -> AccountRow | None:
    row = await _FIND.one(connection, name=name)
    return AccountRow._make(row) if row else None


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[AccountRow]:
    """In the order of the names, without those that are being deleted."""
    return [AccountRow._make(row) for row in await _PAGE.run(connection, after=after, limit=limit)]


async def names(connection: AsyncConnection, limit: int) -> list[str]:
    """The first of all, those among them that are being deleted: their clients may be there still."""
    return [str(row[0]) for row in await _NAMES.run(connection, limit=limit)]


async def bind(connection: AsyncConnection, account_id: UUID, client: str, key: str, token: bytes) -> AccountRow | None:
    """Let a client act as the account, instead of the one before; None when the account was deleted meanwhile."""
    row = await _BIND.one(connection, id=account_id, client=client, key=key, token=token)
    return AccountRow._make(row) if row else None


async def end(connection: AsyncConnection, name: str) -> AccountRow | None:
    """Its client acts for nobody from now on."""
    row = await _END.one(connection, name=name)
    return AccountRow._make(row) if row else None


async def manage_token(connection: AsyncConnection, account_id: UUID) -> tuple[str, bytes] | None:
    """Id of the key, and what it sealed: the token that changes the account's client at the issuer."""
    row = await _MANAGE.one(connection, id=account_id)
    return (row[0], bytes(row[1])) if row and row[1] is not None else None


async def tenants(connection: AsyncConnection, after: UUID, limit: int) -> list[UUID]:
    """Tenants that have service accounts, as maintenance."""
    return [UUID(str(row[0])) for row in await _TENANTS.run(connection, after=after, limit=limit)]


async def to_reseal(connection: AsyncConnection, newest: str, after: UUID, limit: int) -> list[tuple[UUID, str, bytes]]:
    """Accounts whose token another key than the newest has sealed, locked."""
    rows = await _TO_RESEAL.run(connection, newest=newest, after=after, limit=limit)
    return [(UUID(str(row[0])), str(row[1]), bytes(row[2])) for row in rows]


async def reseal(connection: AsyncConnection, account_id: UUID, key: str, token: bytes) -> None:
    """The same token, sealed by another key."""
    await _RESEAL.run(connection, id=account_id, key=key, token=token)


async def remove(connection: AsyncConnection, account_id: UUID) -> None:
    await _REMOVE.run(connection, id=account_id)


async def bound(connection: AsyncConnection, client: str) -> BoundRow | None:
    """Read across tenants, as maintenance."""
    row = await _BOUND.one(connection, client=client)
    return BoundRow._make(row) if row else None
