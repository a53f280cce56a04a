"""Where each run's projection stands: runs found across tenants by times and places, taken by one worker at a time.

A run is found by when it was made, read again from well before the last look: a transaction that commits late is not
missed. From then on its own position says what of its log is not shown yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.engine import TRANSACTION_SECONDS
from libs.database.statements import Statement

OVERLAP_SECONDS = 2 * TRANSACTION_SECONDS  # longer than any transaction that makes a run may take
SAMPLE = 500  # of the positions that are behind, those that have waited longest


class Position(NamedTuple):
    """A run that a worker has taken. `claim` says that nobody has taken it since."""

    tenant_id: UUID
    run_id: UUID
    seq: int
    claim: int
    failures: int
    corrected: bool


class Scope(NamedTuple):
    """Tenants: these only (None: all), and without those."""

    only: list[UUID] | None
    without: list[UUID]


class Lag(NamedTuple):
    """How many runs are behind (of a sample), and since when what was not shown is known, in seconds."""

    runs: int
    seconds: float


_BEGIN = Statement(
    "INSERT INTO projection_reads (name) VALUES (CAST(:name AS text)) ON CONFLICT (name) DO NOTHING RETURNING 1"
)
_CLAIM_READ = Statement(
    """
    UPDATE projection_reads SET next_at = clock_timestamp() + make_interval(secs => CAST(:every AS float8))
    WHERE name = CAST(:name AS text) AND next_at <= clock_timestamp()
    RETURNING clock_timestamp()
    """
)
_DISCOVER = Statement(
    """
    WITH fresh AS MATERIALIZED (
        SELECT r.tenant_id, r.id, r.created_at FROM runs r, projection_reads p
        WHERE p.name = CAST(:name AS text)
            AND r.created_at > p.read_to - make_interval(secs => CAST(:overlap AS float8))
            AND (CAST(:only AS uuid[]) IS NULL OR r.tenant_id = ANY (CAST(:only AS uuid[])))
            AND NOT r.tenant_id = ANY (CAST(:without AS uuid[]))
            AND NOT EXISTS (
                SELECT FROM projections q
                WHERE q.tenant_id = r.tenant_id AND q.run_id = r.id AND q.name = CAST(:name AS text))
        ORDER BY r.created_at LIMIT CAST(:most AS int)
    ), added AS (
        INSERT INTO projections (tenant_id, run_id, name)
        SELECT tenant_id, id, CAST(:name AS text) FROM fresh
        ON CONFLICT (tenant_id, run_id, name) DO NOTHING
    ), moved AS (
        UPDATE projection_reads SET read_to = GREATEST(read_to, CASE
            WHEN (SELECT count(*) FROM fresh) < CAST(:most AS int) THEN CAST(:now AS timestamptz)
            ELSE (SELECT max(created_at) FROM fresh) END)
        WHERE name = CAST(:name AS text)
    )
    SELECT count(*) FROM fresh
    """
)
_BEHIND = """
    FROM projections p JOIN runs r ON r.tenant_id = p.tenant_id AND r.id = p.run_id
    WHERE p.name = CAST(:name AS text) AND NOT p.finished AND (r.last_seq > p.seq OR p.corrected)
"""
_IN_SCOPE = """
    (CAST(:only AS uuid[]) IS NULL OR p.tenant_id = ANY (CAST(:only AS uuid[])))
    AND NOT p.tenant_id = ANY (CAST(:without AS uuid[]))
"""
# Who has shown a run goes on with it where it stands. Others would read all of its log again: they wait a moment.
_CLAIM = Statement(
    f"""
    WITH due AS MATERIALIZED (
        SELECT p.tenant_id, p.run_id, p.name {_BEHIND} AND p.next_at <= clock_timestamp() AND {_IN_SCOPE}
            AND (p.seq = 0 OR p.corrected OR p.run_id = ANY (CAST(:known AS uuid[]))
                OR p.next_at <= clock_timestamp() - make_interval(secs => CAST(:grace AS float8)))
        ORDER BY p.next_at LIMIT CAST(:most AS int) FOR UPDATE OF p SKIP LOCKED
    )
    UPDATE projections p SET claim = p.claim + 1,
        next_at = clock_timestamp() + make_interval(secs => CAST(:lease AS float8))
    FROM due WHERE p.tenant_id = due.tenant_id AND p.run_id = due.run_id AND p.name = due.name
    RETURNING p.tenant_id, p.run_id, p.seq, p.claim, p.failures, p.corrected
    """  # noqa: S608 - put together from constants of this module
)
_OF_RUN = "r.tenant_id = p.tenant_id AND r.id = p.run_id AND p.name = CAST(:name AS text) AND NOT p.finished"
# What has nothing new is set aside, so that nobody who looks for work passes over it again and again.
_SET_ASIDE = Statement(
    f"""
    UPDATE projections p SET next_at = 'infinity' FROM runs r
    WHERE {_OF_RUN} AND p.next_at <= clock_timestamp() AND r.last_seq = p.seq AND NOT p.corrected
    """  # noqa: S608 - put together from constants of this module
)
_TAKE_UP = Statement(
    f"""
    UPDATE projections p SET next_at = clock_timestamp() FROM runs r
    WHERE {_OF_RUN} AND p.next_at = 'infinity' AND (r.last_seq > p.seq OR p.corrected) RETURNING 1
    """  # noqa: S608 - put together from constants of this module
)
_MINE = """
    tenant_id = CAST(:tenant AS uuid) AND run_id = CAST(:run AS uuid) AND name = CAST(:name AS text)
    AND claim = CAST(:claim AS int)
"""
_ADVANCE = Statement(
    f"""
    UPDATE projections SET seq = GREATEST(seq, CAST(:seq AS int)), failures = 0,
        finished = CAST(:finished AS boolean) AND NOT corrected,
        next_at = clock_timestamp() + make_interval(secs => CAST(:pause AS float8))
    WHERE {_MINE} RETURNING 1
    """  # noqa: S608 - put together from constants of this module
)
_REPEAT = Statement(
    f"""
    UPDATE projections SET seq = CAST(:seq AS int), corrected = false, repeated_at = clock_timestamp()
    WHERE {_MINE} RETURNING 1
    """  # noqa: S608 - put together from constants of this module
)
_PUT_BACK = Statement(
    f"""
    UPDATE projections SET failures = failures + 1,
        next_at = clock_timestamp() + make_interval(secs => CAST(:pause AS float8))
    WHERE {_MINE}
    """  # noqa: S608 - put together from constants of this module
)
# What is told again is missing since it was taken back, however old it is.
_LAG = Statement(
    f"""
    SELECT count(*), COALESCE(extract(epoch FROM clock_timestamp() - min(GREATEST(e.at, behind.repeated_at))), 0)
    FROM (
        SELECT p.tenant_id, p.run_id, p.seq, p.repeated_at {_BEHIND} AND r.last_seq > p.seq AND {_IN_SCOPE}
        ORDER BY p.next_at LIMIT {SAMPLE}
    ) AS behind
    JOIN run_events e ON e.tenant_id = behind.tenant_id AND e.run_id = behind.run_id AND e.seq = behind.seq + 1
    """  # noqa: S608 - put together from constants of this module
)


async def begin(connection: AsyncConnection, name: str) -> None:
    """The first time, what is made from now on is projected."""
    await _BEGIN.run(connection, name=name)


async def discover(connection: AsyncConnection, name: str, scope: Scope, *, most: int, every: float) -> int | None:
    """Give new runs of these tenants a position; how many there were. None when another worker has just looked."""
    row = await _CLAIM_READ.one(connection, name=name, every=every)
    if row is None:
        return None
    values = {"name": name, "most": most, "overlap": OVERLAP_SECONDS, "now": row[0], **scope._asdict()}
    found = await _DISCOVER.one(connection, **values)
    return int(found[0])


async def take_up(connection: AsyncConnection, name: str) -> int:
    """Set runs aside that have nothing new, and take up those that have again; how many. As maintenance.

    The only look that compares every run that has not ended.
    """
    await _SET_ASIDE.run(connection, name=name)
    return len(await _TAKE_UP.run(connection, name=name))


async def claim(
    connection: AsyncConnection,
    name: str,
    scope: Scope,
    *,
    most: int,
    lease: float,
    known: Sequence[UUID] = (),
    grace: float = 0.0,
) -> list[Position]:
    """Take runs of these tenants that are behind, those first that have waited longest; as maintenance.

    Of runs that were shown in part, at once those that the caller knows, after so many seconds of `grace` any.
    """
    values = {"most": most, "lease": lease, "known": list(known), "grace": grace, **scope._asdict()}
    rows = await _CLAIM.run(connection, name=name, **values)
    return [Position._make(row) for row in rows]


async def advance(
    connection: AsyncConnection, name: str, position: Position, seq: int, *, finished: bool, pause: float
) -> bool:
    """Note what was shown; False when another worker has taken the run. As the tenant."""
    row = await _ADVANCE.one(connection, **_mine(name, position), seq=seq, finished=finished, pause=pause)
    return row is not None


async def repeat(connection: AsyncConnection, name: str, position: Position, seq: int) -> bool:
    """Go back to an event, since what was shown has changed, or stay where it is; as the tenant."""
    return await _REPEAT.one(connection, **_mine(name, position), seq=seq) is not None


async def put_back(connection: AsyncConnection, name: str, position: Position, pause: float) -> None:
    """It cannot be shown now; as the tenant."""
    await _PUT_BACK.run(connection, **_mine(name, position), pause=pause)


async def lag(connection: AsyncConnection, name: str, scope: Scope) -> Lag:
    """How far behind a projection is with runs of these tenants; as maintenance."""
    runs, seconds = await _LAG.one(connection, name=name, **scope._asdict())
    return Lag(int(runs), float(seconds))


def _mine(name: str, position: Position) -> dict[str, object]:
    return {"tenant": position.tenant_id, "run": position.run_id, "name": name, "claim": position.claim}


class TenantName(NamedTuple):
    id: UUID
    slug: str


_TENANTS = Statement("SELECT id, slug FROM tenants WHERE slug = ANY (CAST(:slugs AS text[]))")


async def tenants_named(connection: AsyncConnection, slugs: Sequence[str]) -> list[TenantName]:
    """Those of these tenants that exist; as maintenance."""
    return [TenantName._make(row) for row in await _TENANTS.run(connection, slugs=list(slugs))]


class TracedRun(NamedTuple):
    """What a trace says of its run beside its log. `input`, `labels` and `spec` are JSON text."""

    tenant: str
    agent: str
    version: int
    spec: str
    created_by: str
    labels: str
    input: str | None
    input_object: str | None
    created_at: datetime
    last_seq: int


_RUN = Statement(
    """
    SELECT t.slug, a.slug, r.version, v.spec, r.created_by, CAST(r.labels AS text), r.input,
           CAST(r.input_object AS text), r.created_at, r.last_seq
    FROM runs r
    JOIN tenants t ON t.id = r.tenant_id
    JOIN agents a ON a.tenant_id = r.tenant_id AND a.id = r.agent_id
    JOIN agent_versions v ON v.tenant_id = r.tenant_id AND v.agent_id = r.agent_id AND v.number = r.version
    WHERE r.id = CAST(:run AS uuid)
    """
)


async def traced_run(connection: AsyncConnection, run_id: UUID) -> TracedRun | None:
    """As the tenant."""
    row = await _RUN.one(connection, run=run_id)
    return TracedRun._make(row) if row else None
