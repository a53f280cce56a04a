"""Rows of tenants. They are found across tenants as maintenance, and written behind the tenant's own wall."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg.exceptions import ForeignKeyViolationError
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement
from libs.domain.plans import DEFAULT

_COLUMNS = "id, slug, name, status, created_at, plan, retention_days"
_NEW_ID = Statement("SELECT uuidv7()")
_ENTER = Statement("SELECT set_config('app.tenant_id', CAST(CAST(:tenant AS uuid) AS text), true)")
_ADD = Statement(
    f"""
    INSERT INTO tenants (id, slug, name, plan)
    VALUES (CAST(:id AS uuid), CAST(:slug AS text), CAST(:name AS text), CAST(:plan AS text))
    ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
    """
)
_FIND_ID = Statement(f"SELECT {_COLUMNS} FROM tenants WHERE id = CAST(:id AS uuid)")
_FIND_SLUG = Statement(f"SELECT {_COLUMNS} FROM tenants WHERE slug = CAST(:slug AS text)")
_LOCK = Statement(f"SELECT {_COLUMNS} FROM tenants WHERE id = CAST(:id AS uuid) FOR NO KEY UPDATE")
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM tenants WHERE CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)
    ORDER BY id DESC LIMIT CAST(:limit AS int)
    """
)
_UPDATE = Statement(
    f"""
    UPDATE tenants SET name = coalesce(CAST(:name AS text), name), status = coalesce(CAST(:status AS text), status),
        plan = coalesce(CAST(:plan AS text), plan)
    WHERE id = CAST(:id AS uuid) AND status <> 'deleting' RETURNING {_COLUMNS}
    """
)
_KEEP_FOR = Statement(
    f"UPDATE tenants SET retention_days = CAST(:days AS int) WHERE id = CAST(:id AS uuid) RETURNING {_COLUMNS}"
)
_MARK_DELETING = Statement(f"UPDATE tenants SET status = 'deleting' WHERE id = CAST(:id AS uuid) RETURNING {_COLUMNS}")


class TenantRow(NamedTuple):
    id: UUID
    slug: str
    name: str
    status: str
    created_at: datetime
    plan: str
    retention_days: int | None


class NoSuchPlan(Exception):
    """A tenant cannot have a plan that does not exist."""


async def new_id(connection: AsyncConnection) -> UUID:
    row = await _NEW_ID.one(connection)
    return UUID(str(row[0]))


async def enter(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Go behind another wall for the rest of the transaction, which platform operations need."""
    await _ENTER.run(connection, tenant=tenant_id)


async def add(
    connection: AsyncConnection, tenant_id: UUID, slug: str, name: str, plan: str = DEFAULT
) -> TenantRow | None:
    """None when the id or the slug is taken, by any tenant. Raises `NoSuchPlan`."""
    with _plan_exists():
        row = await _ADD.one(connection, id=tenant_id, slug=slug, name=name, plan=plan)
    return TenantRow._make(row) if row else None


async def find(connection: AsyncConnection, tenant: UUID | str) -> TenantRow | None:
    """By id or slug; as maintenance it sees every tenant."""
    if isinstance(tenant, UUID):
        row = await _FIND_ID.one(connection, id=tenant)
    else:
        row = await _FIND_SLUG.one(connection, slug=tenant)
    return TenantRow._make(row) if row else None


async def lock(connection: AsyncConnection, tenant_id: UUID) -> TenantRow | None:
    """The row, which nobody else changes until the transaction ends."""
    row = await _LOCK.one(connection, id=tenant_id)
    return TenantRow._make(row) if row else None


async def page(connection: AsyncConnection, before: UUID | None, limit: int) -> list[TenantRow]:
    """By id: newest first, but for those whose id was given."""
    return [TenantRow._make(row) for row in await _PAGE.run(connection, before=before, limit=limit)]


async def update(
    connection: AsyncConnection, tenant_id: UUID, name: str | None, status: str | None, plan: str | None = None
) -> TenantRow | None:
    """None when there is no such tenant, or it is being deleted. Raises `NoSuchPlan`."""
    with _plan_exists():
        row = await _UPDATE.one(connection, id=tenant_id, name=name, status=status, plan=plan)
    return TenantRow._make(row) if row else None


async def keep_for(connection: AsyncConnection, tenant_id: UUID, days: int | None) -> TenantRow | None:
    """How long runs are kept after their end, and uploads after their arrival; None is for ever."""
    row = await _KEEP_FOR.one(connection, id=tenant_id, days=days)
    return TenantRow._make(row) if row else None


async def mark_deleting(connection: AsyncConnection, tenant_id: UUID) -> TenantRow | None:
    """There is no way back: what is of the tenant is erased from now on."""
    row = await _MARK_DELETING.one(connection, id=tenant_id)
    return TenantRow._make(row) if row else None


@contextmanager
def _plan_exists() -> Iterator[None]:
    try:
        yield
    except ForeignKeyViolationError as error:
        raise NoSuchPlan(error.detail or "") from error
