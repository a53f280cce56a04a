"""Reading the audit log: an operator its tenant's, an administrator the platform's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from libs.database import audit
from libs.database.audit import AuditFilter, AuditRow, HeadRow
from libs.database.engine import Database

EXPORTED_AT_ONCE = 500


async def list_entries(database: Database, tenant_id: UUID, wanted: AuditFilter, limit: int) -> list[AuditRow]:
    async with database.tenant(tenant_id) as connection:
        return await audit.page(connection, wanted, limit)


async def get_head(database: Database, tenant_id: UUID) -> HeadRow | None:
    async with database.tenant(tenant_id) as connection:
        return await audit.head(connection)


async def export(database: Database, tenant_id: UUID, after: int) -> AsyncIterator[list[AuditRow]]:
    """The chain in its order, then what is not sealed; no transaction is open while the reader takes its time."""
    sealed = after
    while True:
        async with database.tenant(tenant_id) as connection:
            rows = await audit.chain(connection, sealed, EXPORTED_AT_ONCE)
        yield rows
        if not rows:
            break
        sealed = rows[-1].seq or sealed
    last: UUID | None = None
    while True:
        async with database.tenant(tenant_id) as connection:
            rows = await audit.tail(connection, sealed, last, EXPORTED_AT_ONCE)
        if not rows:
            return
        yield rows
        last = rows[-1].id
