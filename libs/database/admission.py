"""Places among a tenant's running runs: who holds one (`admitted_at`), who is next, and whose are taken away.

A run holds a place from its admission until it ends or is parked by a pause. What gives a place is serialised by an
advisory lock of the tenant; what frees one is not, and needs no bookkeeping: places are counted, in an index. Far below
its limit a tenant's lock is shared: what cannot be seen yet are at most as many runs as the server has connections, so
that a place is given without waiting where so many are free. The lock is taken by a statement before the counting one,
which sees what was committed until then, and before the rows of runs are locked only where nobody waits for those.
"""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg.exceptions import LockNotAvailableError
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.engine import Database
from libs.database.statements import Statement

LOCK = "hashtextextended('admission ' || t.id, 0)"
HOLDS = "admitted_at IS NOT NULL AND finished_at IS NULL"
WAITS = "admitted_at IS NULL AND finished_at IS NULL AND desired = 'run'"
UNSEEN = "CAST(current_setting('max_connections') AS int)"
# How a transaction that is to give a place went through the tenant's lock, for the select list of a statement on
# `tenants t` and `plans p`: null is without a limit, and so without a lock.
ENTRY = f"""
    CASE WHEN p.running_runs IS NULL THEN NULL
    WHEN NOT CAST(:exactly AS boolean) AND p.running_runs > {UNSEEN} AND pg_try_advisory_xact_lock_shared({LOCK})
        THEN 'shared'
    ELSE (SELECT 'exact' FROM pg_advisory_xact_lock({LOCK})) END,
    {UNSEEN}
"""
_ENTER = Statement(f"SELECT pg_advisory_xact_lock({LOCK}) FROM tenants t WHERE t.id = CAST(:tenant AS uuid)")
_IMPATIENCE = Statement("SELECT set_config('lock_timeout', '500ms', true)")
# A run that never had a workflow needs no wake-up; any other one waits for a higher number.
_ADMITTED = """
    admitted_at = clock_timestamp(), checks = 0, next_check_at = clock_timestamp() + interval '5 seconds',
    control_seq = r.control_seq + CASE WHEN r.status = 'queued' AND r.control_seq = 0 THEN 0 ELSE 1 END
"""
_GIVEN = "r.id, r.priority, r.deadline_at, r.control_seq"
_ADMIT = Statement(
    f"""
    WITH room AS MATERIALIZED (
        SELECT LEAST(CAST(:most AS int), p.running_runs - (
            SELECT count(*) FROM runs h WHERE h.tenant_id = t.id AND {HOLDS})) AS places
        FROM tenants t JOIN plans p ON p.slug = t.plan WHERE t.id = CAST(:tenant AS uuid) AND t.status = 'active'
    ), next AS (
        SELECT tenant_id, id FROM runs WHERE tenant_id = CAST(:tenant AS uuid) AND {WAITS}
        ORDER BY priority, id LIMIT COALESCE((SELECT GREATEST(places, 0) FROM room), 0)
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE runs r SET {_ADMITTED} FROM next WHERE r.tenant_id = next.tenant_id AND r.id = next.id
    RETURNING {_GIVEN}
    """
)
# Runs whose place was taken away and which have not parked yet: they still work.
_ADMIT_WORKING = Statement(
    f"""
    UPDATE runs r SET {_ADMITTED}
    WHERE r.tenant_id = CAST(:tenant AS uuid) AND {WAITS} AND r.status NOT IN ('queued', 'paused')
    """
)
# Nobody is waited for, so that nobody who does the same at the same time is waited for in a circle.
_REVOKE = Statement(
    f"""
    WITH held AS (
        SELECT tenant_id, id FROM runs WHERE tenant_id = CAST(:tenant AS uuid) AND {HOLDS}
            AND EXISTS (SELECT FROM tenants t WHERE t.id = CAST(:tenant AS uuid) AND t.status <> 'active')
        ORDER BY id LIMIT CAST(:most AS int) FOR NO KEY UPDATE OF runs SKIP LOCKED
    )
    UPDATE runs r SET
        admitted_at = NULL, control_seq = r.control_seq + 1, checks = 0, next_check_at = clock_timestamp()
    FROM held WHERE r.tenant_id = held.tenant_id AND r.id = held.id
    RETURNING {_GIVEN}
    """
)
# Each step of the recursion finds the next tenant by the index, however many runs of one wait.
_WAITING = Statement(
    f"""
    WITH RECURSIVE waiting (tenant_id) AS (
        (SELECT tenant_id FROM runs WHERE {WAITS} ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT r.tenant_id FROM runs r WHERE {WAITS} AND r.tenant_id > w.tenant_id ORDER BY 1 LIMIT 1)
        FROM waiting w WHERE w.tenant_id IS NOT NULL
    )
    SELECT w.tenant_id FROM waiting w JOIN tenants t ON t.id = w.tenant_id WHERE t.status = 'active'
    """
)
_STOPPED = Statement(
    f"""
    SELECT t.id FROM tenants t
    WHERE t.status <> 'active' AND EXISTS (SELECT FROM runs r WHERE r.tenant_id = t.id AND {HOLDS})
    """
)
_OVERDUE = Statement(
    f"""
    SELECT tenant_id, id FROM runs
    WHERE {WAITS} AND started_at IS NULL AND deadline_at <= clock_timestamp() LIMIT CAST(:most AS int)
    """
)


class Places(NamedTuple):
    """How many runs may run before this one has to wait (None: any number), and how many may wait.

    Unless `exact`, a run that would have to wait is not recorded: whether it has to must be counted exactly.
    """

    running: int | None
    waiting: int | None
    exact: bool


UNLIMITED = Places(None, None, True)


class NoPlace(Exception):
    """The run can neither run nor wait; nothing was recorded. Without `exact` it may be that it can."""


class Given(NamedTuple):
    """A run that just got, or lost, its place."""

    run_id: UUID
    priority: int
    deadline_at: datetime | None
    control_seq: int


class Occupied(Exception):
    """Somebody holds the tenant's lock, or a row of it, for longer than the caller would wait."""


async def enter(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Be the only one who gives places of this tenant, until the transaction ends."""
    await _ENTER.run(connection, tenant=tenant_id)


@asynccontextmanager
async def impatient(database: Database, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
    """A transaction as the tenant that waits for no lock longer than a moment: the next tenant's turn comes.

    Raises:
        Occupied: it would have to.
    """
    try:
        async with database.tenant(tenant_id) as connection:
            await _IMPATIENCE.run(connection)
            yield connection
    except LockNotAvailableError as error:
        raise Occupied(str(tenant_id)) from error


async def admit(connection: AsyncConnection, tenant_id: UUID, most: int) -> list[Given]:
    """Give free places to the tenant's next runs, by priority, then age. Only after `enter`; none while suspended."""
    return [Given._make(row) for row in await _ADMIT.run(connection, tenant=tenant_id, most=most)]


async def admit_working(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Give their places back to runs that lost them and have not parked since. Only after `enter`."""
    await _ADMIT_WORKING.run(connection, tenant=tenant_id)


async def revoke(connection: AsyncConnection, tenant_id: UUID, most: int) -> list[Given]:
    """Take places of a tenant that may not work: its runs park. What is asked of each run stays.

    A run of which something is written at this moment is passed over; `stopped_tenants` tells that it is left.
    """
    return [Given._make(row) for row in await _REVOKE.run(connection, tenant=tenant_id, most=most)]


async def waiting_tenants(connection: AsyncConnection) -> list[UUID]:
    """Active tenants of which a run waits; across tenants."""
    return [row[0] for row in await _WAITING.run(connection)]


async def stopped_tenants(connection: AsyncConnection) -> list[UUID]:
    """Tenants that may not work and of which a run holds a place; across tenants."""
    return [row[0] for row in await _STOPPED.run(connection)]


async def overdue(connection: AsyncConnection, most: int) -> list[tuple[UUID, UUID]]:
    """(tenant, run) of runs that waited beyond their deadline; across tenants."""
    return [(row[0], row[1]) for row in await _OVERDUE.run(connection, most=most)]
