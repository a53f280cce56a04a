"""Rows of artifacts; their content is in the object store."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

_COLUMNS = "a.id, a.run_id, a.name, a.media_type, a.size, a.sha256, a.object_key, a.created_at, a.created_by"
# A user sees what they uploaded and the files of their own runs.
_VISIBLE = """
    (CAST(:subject AS text) IS NULL OR a.created_by = CAST(:subject AS text) OR EXISTS (
        SELECT FROM runs r
        WHERE r.tenant_id = a.tenant_id AND r.id = a.run_id AND r.created_by = CAST(:subject AS text)))
"""
_ADD = Statement(
    f"""
    INSERT INTO artifacts AS a (tenant_id, id, run_id, name, media_type, size, sha256, object_key, created_by)
    VALUES (CAST(:tenant AS uuid), CAST(:id AS uuid), CAST(:run AS uuid), CAST(:name AS text),
            CAST(:media_type AS text), CAST(:size AS bigint), CAST(:sha256 AS text),
            CAST(:object_key AS text), CAST(:by AS text))
    RETURNING {_COLUMNS}
    """
)
_FIND = Statement(f"SELECT {_COLUMNS} FROM artifacts a WHERE a.id = CAST(:id AS uuid) AND {_VISIBLE}")
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM artifacts a
    WHERE (CAST(:before AS uuid) IS NULL OR a.id < CAST(:before AS uuid)) AND {_VISIBLE}
    ORDER BY a.id DESC LIMIT CAST(:limit AS int)
    """
)
_PAGE_OF_RUN = Statement(
    f"""
    SELECT {_COLUMNS} FROM artifacts a
    WHERE a.run_id = CAST(:run AS uuid) AND (CAST(:before AS uuid) IS NULL OR a.id < CAST(:before AS uuid))
        AND {_VISIBLE}
    ORDER BY a.id DESC LIMIT CAST(:limit AS int)
    """
)


class ArtifactRow(NamedTuple):
    id: UUID
    run_id: UUID | None
    name: str
    media_type: str
    size: int
    sha256: str
    object_key: str
    created_at: datetime
    created_by: str


async def add(
    connection: AsyncConnection,
    tenant_id: UUID,
    artifact_id: UUID,
    *,
    name: str,
    media_type: str,
    size: int,
    sha256: str,
    object_key: str,
    by: str,
    run_id: UUID | None = None,
) -> ArtifactRow:
    row = await _ADD.one(
        connection,
        tenant=tenant_id,
        id=artifact_id,
        run=run_id,
        name=name,
        media_type=media_type,
        size=size,
        sha256=sha256,
        object_key=object_key,
        by=by,
    )
    return ArtifactRow._make(row)


async def find(connection: AsyncConnection, artifact_id: UUID, subject: str | None) -> ArtifactRow | None:
    """`subject` None sees all of the tenant."""
    row = await _FIND.one(connection, id=artifact_id, subject=subject)
    return ArtifactRow._make(row) if row else None


async def page(
    connection: AsyncConnection, run_id: UUID | None, subject: str | None, before: UUID | None, limit: int
) -> list[ArtifactRow]:
    """Newest first."""
    if run_id is None:
        rows = await _PAGE.run(connection, subject=subject, before=before, limit=limit)
    else:
        rows = await _PAGE_OF_RUN.run(connection, run=run_id, subject=subject, before=before, limit=limit)
    return [ArtifactRow._make(row) for row in rows]
