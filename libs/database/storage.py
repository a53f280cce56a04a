"""What a tenant keeps in bytes of artifacts; triggers on artifacts keep the sum."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

_READ = Statement(
    "SELECT COALESCE(sum(artifact_bytes), 0) FROM storage WHERE tenant_id = CAST(:tenant AS uuid)",
)
_ROOM = Statement(
    """
    SELECT p.artifact_bytes - COALESCE(s.artifact_bytes, 0)
    FROM tenants t JOIN plans p ON p.slug = t.plan LEFT JOIN storage s ON s.tenant_id = t.id
    WHERE t.id = CAST(:tenant AS uuid)
    """
)
# The row is there afterwards, and nobody else changes it until the transaction ends.
_LOCK = Statement(
    """
    INSERT INTO storage AS s (tenant_id) VALUES (CAST(:tenant AS uuid))
    ON CONFLICT (tenant_id) DO UPDATE SET artifact_bytes = s.artifact_bytes RETURNING artifact_bytes
    """
)


async def artifact_bytes(connection: AsyncConnection, tenant_id: UUID) -> int:
    row = await _READ.one(connection, tenant=tenant_id)
    return int(row[0])


async def lock(connection: AsyncConnection, tenant_id: UUID) -> int:
    """The same, and no artifact is added or deleted until the transaction ends."""
    row = await _LOCK.one(connection, tenant=tenant_id)
    return int(row[0])


async def room(connection: AsyncConnection, tenant_id: UUID) -> int | None:
    """Bytes that the tenant's plan still allows; None for any number."""
    row = await _ROOM.one(connection, tenant=tenant_id)
    return None if row is None or row[0] is None else int(row[0])
