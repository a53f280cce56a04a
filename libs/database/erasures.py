"""Records of erasures: what is to be erased, for whom, how far it has come, and what was found left at the end."""

# ruff: noqa: S608 - what is put into the statements are constants of this module

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

_COLUMNS = (
    "tenant_id, id, kind, run_id, subject, finished_before, slug, requested_by, source, created_at, started_at, "
    "finished_at, accounts_at, waiting_for, CAST(found AS text), CAST(removed AS text), CAST(remaining AS text), "
    "checked_at, looks"
)
RETENTION = "retention"  # who asks for erasures of that kind
_ADD = Statement(
    f"""
    INSERT INTO erasures (tenant_id, kind, run_id, subject, slug, requested_by, source)
    VALUES (CAST(current_setting('app.tenant_id') AS uuid), CAST(:kind AS text), CAST(:run AS uuid),
            CAST(:subject AS text), CAST(:slug AS text), CAST(:by AS text), CAST(:source AS text))
    ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
    """
)
_OPEN = Statement(
    f"""
    SELECT {_COLUMNS} FROM erasures
    WHERE tenant_id = CAST(current_setting('app.tenant_id') AS uuid) AND finished_at IS NULL
        AND kind = CAST(:kind AS text)
        AND coalesce(run_id::text, subject, '') = coalesce(CAST(:run AS uuid)::text, CAST(:subject AS text), '')
    """
)
_MINE = "(CAST(:by AS text) IS NULL OR requested_by = CAST(:by AS text))"
_FIND = Statement(f"SELECT {_COLUMNS} FROM erasures WHERE id = CAST(:id AS uuid) AND {_MINE}")
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM erasures
    WHERE (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)) AND {_MINE}
    ORDER BY id DESC LIMIT CAST(:limit AS int)
    """
)
_REOPEN = Statement(
    f"""
    UPDATE erasures SET finished_at = NULL, next_look_at = clock_timestamp(), looks = 0
    WHERE id = CAST(:id AS uuid) AND finished_at IS NOT NULL RETURNING {_COLUMNS}
    """
)
_WAS_TENANT = Statement(
    """
    SELECT 1 FROM erasures
    WHERE kind = 'tenant' AND (slug = CAST(:slug AS text) OR tenant_id = CAST(:tenant AS uuid)) LIMIT 1
    """
)
_ACCOUNTS_DUE = Statement(
    f"SELECT {_COLUMNS} FROM erasures WHERE kind = 'tenant' AND finished_at IS NULL AND accounts_at IS NULL ORDER BY id"
)
_ACCOUNTS = Statement(
    """
    UPDATE erasures SET accounts_at = clock_timestamp(), next_look_at = clock_timestamp()
    WHERE id = CAST(:id AS uuid) AND accounts_at IS NULL
    """
)
# Moving the next look is what claims an erasure; whoever dies over it has it taken over when the lease is up.
_CLAIM = Statement(
    f"""
    UPDATE erasures SET next_look_at = clock_timestamp() + make_interval(secs => CAST(:lease AS float8)),
        looks = looks + 1, started_at = coalesce(started_at, clock_timestamp())
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM erasures WHERE finished_at IS NULL AND next_look_at <= clock_timestamp()
        ORDER BY next_look_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING {_COLUMNS}
    """
)
_FOUND = Statement(
    """
    UPDATE erasures SET found = coalesce(found, CAST(:counts AS jsonb))
    WHERE tenant_id = CAST(:tenant AS uuid) AND id = CAST(:id AS uuid)
    """
)
_REMOVED = Statement(
    """
    UPDATE erasures SET waiting_for = NULL, removed = (
        SELECT coalesce(jsonb_object_agg(store, number), '{}') FROM (
            SELECT store, sum(number::bigint) AS number FROM (
                SELECT * FROM jsonb_each_text(removed) UNION ALL SELECT * FROM jsonb_each_text(CAST(:counts AS jsonb))
            ) AS counted (store, number) GROUP BY store
        ) AS summed
    ), next_look_at = clock_timestamp() + make_interval(secs => CAST(:lease AS float8))
    WHERE tenant_id = CAST(:tenant AS uuid) AND id = CAST(:id AS uuid)
    """
)
_REMOVED_OF = Statement(
    "SELECT CAST(removed AS text) FROM erasures WHERE tenant_id = CAST(:tenant AS uuid) AND id = CAST(:id AS uuid)"
)
_WAIT = Statement(
    """
    UPDATE erasures SET waiting_for = CAST(:what AS text),
        next_look_at = clock_timestamp() + make_interval(secs => CAST(:seconds AS float8))
    WHERE tenant_id = CAST(:tenant AS uuid) AND id = CAST(:id AS uuid)
    """
)
_CHECKED = Statement(
    """
    UPDATE erasures SET remaining = CAST(:counts AS jsonb), checked_at = clock_timestamp(), waiting_for = NULL,
        finished_at = CASE WHEN CAST(:finished AS boolean) THEN clock_timestamp() END,
        next_look_at = clock_timestamp() + interval '1 second'
    WHERE tenant_id = CAST(:tenant AS uuid) AND id = CAST(:id AS uuid)
    """
)
# At most one an hour for a tenant, and only when there is something to erase.
_RETAIN = Statement(
    """
    INSERT INTO erasures (tenant_id, kind, finished_before, requested_by, source)
    SELECT t.id, 'retention', due.moment, 'retention', 'platform'
    FROM tenants t, LATERAL (SELECT clock_timestamp() - make_interval(days => t.retention_days) AS moment) AS due
    WHERE t.retention_days IS NOT NULL AND t.status <> 'deleting'
        AND NOT EXISTS (SELECT FROM erasures e WHERE e.tenant_id = t.id AND e.kind = 'retention'
                        AND e.created_at > clock_timestamp() - make_interval(secs => CAST(:pause AS float8)))
        AND EXISTS (SELECT FROM runs r WHERE r.tenant_id = t.id AND r.finished_at < due.moment)
    ON CONFLICT DO NOTHING RETURNING 1
    """
)
_FORGET = Statement(
    "DELETE FROM erasures WHERE kind = 'retention' AND finished_at < clock_timestamp() - interval '30 days'"
)


class ErasureRow(NamedTuple):
    """An erasure. `found`, `removed` and `remaining` are JSON text of counts by store."""

    tenant_id: UUID
    id: UUID
    kind: str
    run_id: UUID | None
    subject: str | None
    finished_before: datetime | None
    slug: str | None
    requested_by: str
    source: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    accounts_at: datetime | None
    waiting_for: str | None
    found: str | None
    removed: str
    remaining: str | None
    checked_at: datetime | None
    looks: int


Counts = Mapping[str, int]


async def add(
    connection: AsyncConnection,
    kind: str,
    *,
    by: str,
    source: str,
    run_id: UUID | None = None,
    subject: str | None = None,
    slug: str | None = None,
) -> tuple[ErasureRow, bool]:
    """The erasure of this in the tenant of the transaction, and whether it is new: an open one is the same one."""
    row = await _ADD.one(connection, kind=kind, run=run_id, subject=subject, slug=slug, by=by, source=source)
    new = row is not None
    if row is None:
        row = await _OPEN.one(connection, kind=kind, run=run_id, subject=subject)
    if row is None:  # it ended at this moment
        return await add(connection, kind, by=by, source=source, run_id=run_id, subject=subject, slug=slug)
    return ErasureRow._make(row), new


async def find(connection: AsyncConnection, erasure_id: UUID, by: str | None) -> ErasureRow | None:
    """`by` None sees those of everybody."""
    row = await _FIND.one(connection, id=erasure_id, by=by)
    return ErasureRow._make(row) if row else None


async def page(connection: AsyncConnection, by: str | None, before: UUID | None, limit: int) -> list[ErasureRow]:
    """Newest first."""
    return [ErasureRow._make(row) for row in await _PAGE.run(connection, by=by, before=before, limit=limit)]


async def reopen(connection: AsyncConnection, erasure_id: UUID) -> ErasureRow | None:
    """Have a finished one looked at again; None when it is open."""
    row = await _REOPEN.one(connection, id=erasure_id)
    return ErasureRow._make(row) if row else None


async def was_tenant(connection: AsyncConnection, slug: str, tenant_id: UUID | None) -> bool:
    """Whether a tenant of this name or id was, or is to be, erased; as the platform."""
    return await _WAS_TENANT.one(connection, slug=slug, tenant=tenant_id) is not None


async def accounts_due(connection: AsyncConnection) -> list[ErasureRow]:
    """Tenants whose accounts are still at the issuer, as the platform."""
    return [ErasureRow._make(row) for row in await _ACCOUNTS_DUE.run(connection)]


async def note_accounts(connection: AsyncConnection, erasure_id: UUID) -> None:
    """The tenant's accounts are gone from the issuer, or there is no issuer that we administer."""
    await _ACCOUNTS.run(connection, id=erasure_id)


async def claim(connection: AsyncConnection, lease: float) -> ErasureRow | None:
    """The next to work at, for so many seconds, as maintenance; each that is noted gives as many again."""
    row = await _CLAIM.one(connection, lease=lease)
    return ErasureRow._make(row) if row else None


async def note_found(connection: AsyncConnection, erasure: ErasureRow, counts: Counts) -> None:
    await _FOUND.run(connection, tenant=erasure.tenant_id, id=erasure.id, counts=json.dumps(counts))


async def note_removed(connection: AsyncConnection, erasure: ErasureRow, counts: Counts, lease: float) -> None:
    """Add to what was removed; in the transaction that removes rows."""
    counted = json.dumps({store: number for store, number in counts.items() if number})
    await _REMOVED.run(connection, tenant=erasure.tenant_id, id=erasure.id, counts=counted, lease=lease)


async def removed_of(connection: AsyncConnection, erasure: ErasureRow) -> str:
    """JSON text of what was removed until now."""
    row = await _REMOVED_OF.one(connection, tenant=erasure.tenant_id, id=erasure.id)
    return str(row[0])


async def wait(connection: AsyncConnection, erasure: ErasureRow, what: str, seconds: float) -> None:
    """Say what it waits for, and look again later."""
    await _WAIT.run(connection, tenant=erasure.tenant_id, id=erasure.id, what=what, seconds=seconds)


async def note_checked(connection: AsyncConnection, erasure: ErasureRow, counts: Counts) -> bool:
    """What is left; nothing finishes it."""
    finished = not any(counts.values())
    await _CHECKED.run(
        connection, tenant=erasure.tenant_id, id=erasure.id, counts=json.dumps(counts), finished=finished
    )
    return finished


async def retain(connection: AsyncConnection, pause: float) -> int:
    """Begin erasures of what tenants keep no longer; how many. As maintenance."""
    await _FORGET.run(connection)
    return len(await _RETAIN.run(connection, pause=pause))
