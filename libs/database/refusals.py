"""What an observer refused for good: kept until somebody asks for another attempt and that one is taken.

`kind` says what it was, `item` which one of its run. Why is told in our words: an observer's answer may quote content.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.projections import Scope
from libs.database.statements import Statement

LONGEST_REASON = 500  # characters
MOST_ASKED = 10_000  # at once, to be tried again


class Refusal(NamedTuple):
    """One item that was refused. `retry_at` while another attempt is to be made."""

    id: UUID
    kind: str
    run_id: UUID
    item: str
    project: str
    status: int | None
    reason: str
    attempts: int
    refused_at: datetime
    retry_at: datetime | None


class Retry(NamedTuple):
    """An item that is to be tried again, taken by one worker."""

    tenant_id: UUID
    id: UUID
    run_id: UUID
    item: str


_COLUMNS = "id, kind, run_id, item, project, status, reason, attempts, refused_at, retry_at"
_ADD = Statement(
    """
    INSERT INTO refusals AS r (tenant_id, kind, run_id, item, project, status, reason)
    VALUES (CAST(:tenant AS uuid), CAST(:kind AS text), CAST(:run AS uuid), CAST(:item AS text),
            CAST(:project AS text), CAST(:status AS int), CAST(:reason AS text))
    ON CONFLICT (tenant_id, run_id, kind, item) DO UPDATE
        SET project = excluded.project, status = excluded.status, reason = excluded.reason,
            attempts = r.attempts + 1, refused_at = clock_timestamp(), retry_at = NULL
    """
)
_REMOVE = Statement(
    """
    DELETE FROM refusals WHERE run_id = CAST(:run AS uuid) AND kind = CAST(:kind AS text)
        AND (CAST(:item AS text) IS NULL OR item = CAST(:item AS text))
    """
)
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM refusals
    WHERE CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)
    ORDER BY id DESC LIMIT CAST(:limit AS int)
    """  # noqa: S608 - put together from constants of this module
)
# Asked for again while a worker is at it, it is that attempt.
_ASK = Statement(
    """
    UPDATE refusals SET retry_at = COALESCE(retry_at, clock_timestamp()) WHERE id IN (
        SELECT id FROM refusals
        WHERE run_id = CAST(:run AS uuid) OR (CAST(:run AS uuid) IS NULL AND retry_at IS NULL)
        ORDER BY id LIMIT CAST(:most AS int) FOR UPDATE
    ) RETURNING 1
    """
)
_IN_SCOPE = """
    (CAST(:only AS uuid[]) IS NULL OR tenant_id = ANY (CAST(:only AS uuid[])))
    AND NOT tenant_id = ANY (CAST(:without AS uuid[]))
"""
_GIVE_UP = Statement(
    f"""
    UPDATE refusals SET retry_at = NULL
    WHERE kind = CAST(:kind AS text) AND retry_at IS NOT NULL AND {_IN_SCOPE}
    """  # noqa: S608 - put together from constants of this module
)
_CLAIM = Statement(
    f"""
    UPDATE refusals SET retry_at = clock_timestamp() + make_interval(secs => CAST(:lease AS float8))
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM refusals
        WHERE kind = CAST(:kind AS text) AND retry_at <= clock_timestamp() AND {_IN_SCOPE}
        ORDER BY retry_at LIMIT CAST(:most AS int) FOR UPDATE SKIP LOCKED
    ) RETURNING tenant_id, id, run_id, item
    """  # noqa: S608 - put together from constants of this module
)


async def add(
    connection: AsyncConnection,
    tenant_id: UUID,
    run_id: UUID,
    kind: str,
    item: str,
    *,
    project: str,
    status: int | None,
    reason: str,
) -> None:
    """Keep what was refused, or that it was refused again; as the tenant."""
    await _ADD.run(
        connection,
        tenant=tenant_id,
        run=run_id,
        kind=kind,
        item=item,
        project=project,
        status=status,
        reason=reason[:LONGEST_REASON],
    )


async def remove(connection: AsyncConnection, run_id: UUID, kind: str, item: str | None = None) -> None:
    """It was taken after all, or, without an item, all of the run is sent again; as the tenant."""
    await _REMOVE.run(connection, run=run_id, kind=kind, item=item)


async def page(connection: AsyncConnection, before: UUID | None, limit: int) -> list[Refusal]:
    """Newest first; as the tenant."""
    return [Refusal._make(row) for row in await _PAGE.run(connection, before=before, limit=limit)]


async def ask(connection: AsyncConnection, run_id: UUID | None) -> int:
    """Have what was refused tried again, of one run or of all, `MOST_ASKED` at once; how many. As the tenant."""
    return len(await _ASK.run(connection, run=run_id, most=MOST_ASKED))


async def give_up(connection: AsyncConnection, kind: str, scope: Scope) -> None:
    """Nobody can try it for these tenants, who may ask again once somebody can; as maintenance."""
    await _GIVE_UP.run(connection, kind=kind, **scope._asdict())


async def claim(connection: AsyncConnection, kind: str, scope: Scope, *, most: int, lease: float) -> list[Retry]:
    """Take what is to be tried again; as maintenance."""
    rows = await _CLAIM.run(connection, kind=kind, most=most, lease=lease, **scope._asdict())
    return [Retry._make(row) for row in rows]
