"""What the API needs of runs: record one, read it, list them, ask something of one; their steps are in `steps`."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.admission import HOLDS, UNLIMITED, WAITS, NoPlace, Places
from libs.database.idempotency import FREE
from libs.database.statements import Statement

UNPRICED = """(SELECT count(*) FROM model_calls c WHERE c.tenant_id = r.tenant_id AND c.run_id = r.id
        AND c.input_price IS NULL AND c.state <> 'not_sent')"""
_COLUMNS = f"""
    r.id, a.slug, r.version, r.status,
    CASE WHEN r.admitted_at IS NULL AND r.finished_at IS NULL AND r.desired = 'run' THEN 'quota' ELSE r.waiting_for END,
    r.desired, r.error_code, r.error_message, r.input_tokens,
    r.cached_input_tokens, r.output_tokens, r.reasoning_tokens, r.cost, r.estimated, r.turn, CAST(r.labels AS text),
    r.priority, r.created_by, r.created_at, r.started_at, r.finished_at, r.deadline_at, r.last_seq, r.control_seq,
    {UNPRICED}
"""
_CONTENT = "r.input, CAST(r.input_object AS text), r.output, CAST(r.output_object AS text)"
_WITH_AGENT = "JOIN agents a ON a.tenant_id = r.tenant_id AND a.id = r.agent_id"
_MINE = "(CAST(:subject AS text) IS NULL OR r.created_by = CAST(:subject AS text))"


class RunRow(NamedTuple):
    """A run without its content. `labels` is JSON text, `turn` the number of answered model calls."""

    id: UUID
    agent: str
    version: int
    status: str
    waiting_for: str | None
    desired: str
    error_code: str | None
    error_message: str | None
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Decimal
    estimated: bool
    turn: int
    labels: str
    priority: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    last_seq: int
    control_seq: int
    unpriced_calls: int  # model calls that had no price when they were opened


class RunContent(NamedTuple):
    """Input and output as JSON text, or the object that holds it: JSON of {"key", "size", "sha256"}."""

    input: str | None
    input_object: str | None
    output: str | None
    output_object: str | None


class NewRun(NamedTuple):
    """What is recorded of a new run. `labels`, `input_object` and `data` (of `run.queued`) are JSON text."""

    tenant_id: UUID
    agent_id: UUID
    version: int
    by: str
    input: str | None
    input_object: str | None
    labels: str
    priority: int
    limit_steps: int | None
    limit_tokens: int | None
    limit_cost: Decimal | None
    seconds: int | None
    data: str


class Recorded(NamedTuple):
    """What the database chose for a new run; `room` where it waits although there are places."""

    id: UUID
    created_at: datetime
    deadline_at: datetime | None
    admitted: bool = True
    room: bool = False


class RunFilter(NamedTuple):
    """Which runs are listed; None and empty do not restrict. `labels` is JSON text that a run's labels must contain."""

    subject: str | None = None
    agent: str | None = None
    statuses: tuple[str, ...] = ()
    labels: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before: UUID | None = None


class Signalled(NamedTuple):
    """A run after something was asked of it, and whether that changed anything."""

    row: RunRow
    changed: bool


_RUN_AND_EVENT = """
    new AS MATERIALIZED (SELECT {id} AS id, clock_timestamp() AS now {claimed}),
    room AS MATERIALIZED (
        SELECT CAST(:running AS int) IS NULL OR (
            SELECT count(*) FROM (
                SELECT FROM runs WHERE tenant_id = CAST(:tenant_id AS uuid) AND {holds} LIMIT CAST(:running AS int)
            ) AS held) < CAST(:running AS int) AS free
    ), place AS MATERIALIZED (
        SELECT room.free, room.free AND NOT (CAST(:exact AS boolean) AND CAST(:running AS int) IS NOT NULL AND EXISTS (
            SELECT FROM runs WHERE tenant_id = CAST(:tenant_id AS uuid) AND {waits})) AS admitted
        FROM room
    ), run AS (
        INSERT INTO runs (tenant_id, id, agent_id, version, created_by, last_seq, input, input_object, labels, priority,
                          limit_steps, limit_tokens, limit_cost, created_at, admitted_at, next_check_at, deadline_at)
        SELECT CAST(:tenant_id AS uuid), new.id, CAST(:agent_id AS uuid), CAST(:version AS int), CAST(:by AS text), 1,
               CAST(:input AS text), CAST(:input_object AS jsonb), CAST(:labels AS jsonb), CAST(:priority AS smallint),
               CAST(:limit_steps AS int), CAST(:limit_tokens AS bigint), CAST(:limit_cost AS numeric),
               new.now, CASE WHEN place.admitted THEN new.now END,
               CASE WHEN place.admitted THEN new.now + interval '5 seconds' ELSE 'infinity' END,
               new.now + CAST(:seconds AS int) * interval '1 second'
        FROM new, place
        WHERE place.admitted OR (CAST(:exact AS boolean) AND (place.free OR CAST(:waiting AS int) IS NULL OR (
            SELECT count(*) FROM (
                SELECT FROM runs WHERE tenant_id = CAST(:tenant_id AS uuid) AND {waits} LIMIT CAST(:waiting AS int)
            ) AS queue) < CAST(:waiting AS int)))
        RETURNING tenant_id, id, created_at, deadline_at
    ), log AS (
        INSERT INTO run_events (tenant_id, run_id, seq, type, data, at)
        SELECT tenant_id, id, 1, 'run.queued', CAST(:data AS jsonb), created_at FROM run
    )
    SELECT run.id, run.created_at, run.deadline_at, place.admitted, place.free FROM new, place LEFT JOIN run ON true
"""


def _recording(claimed: str = "", id_: str = "uuidv7()") -> str:
    return _RUN_AND_EVENT.format(claimed=claimed, id=id_, holds=HOLDS, waits=WAITS)


_ADD = Statement(f"WITH {_recording()}")
_ADD_ONCE = Statement(
    f"""
    WITH ids AS MATERIALIZED (SELECT uuidv7() AS id), claimed AS (
        INSERT INTO idempotency_keys (tenant_id, subject, operation, key, digest, resource_id, status)
        SELECT CAST(:tenant_id AS uuid), CAST(:subject AS text), CAST(:operation AS text), CAST(:key AS text),
               CAST(:digest AS text), ids.id, 202 FROM ids
        ON CONFLICT (tenant_id, subject, operation, key) DO UPDATE
            SET digest = excluded.digest, resource_id = excluded.resource_id, status = excluded.status, location = NULL,
                response = NULL, created_at = clock_timestamp()
            WHERE {FREE}
        RETURNING resource_id
    ), {_recording("FROM claimed", "claimed.resource_id")}
    """
)
_GET = Statement(f"SELECT {_COLUMNS}, {_CONTENT} FROM runs r {_WITH_AGENT} WHERE r.id = CAST(:run AS uuid) AND {_MINE}")
_FIND = Statement(f"SELECT {_COLUMNS} FROM runs r {_WITH_AGENT} WHERE r.id = CAST(:run AS uuid) AND {_MINE}")
_LOCK = Statement(f"SELECT 1 FROM runs r WHERE r.id = CAST(:run AS uuid) AND {_MINE} FOR NO KEY UPDATE")

# Should the signal get lost, the reconciler looks at the run soon.
_SOON = "checks = 0, next_check_at = LEAST(r.next_check_at, clock_timestamp() + interval '2 seconds')"
_IDLE = "r.admitted_at IS NULL AND r.status IN ('queued', 'paused')"
# A run that never started is cancelled here and now; any other is asked to stop, and says `cancelling` until it has.
_CANCEL = Statement(
    f"""
    WITH changed AS (
        UPDATE runs r SET
            control_seq = r.control_seq + 1, desired = 'cancelled', waiting_for = NULL, {_SOON},
            last_seq = r.last_seq + CASE WHEN r.started_at IS NULL THEN 2 ELSE 1 END,
            status = CASE WHEN r.started_at IS NULL THEN 'cancelled' ELSE 'cancelling' END,
            finished_at = CASE WHEN r.started_at IS NULL THEN clock_timestamp() END
        WHERE r.id = CAST(:run AS uuid) AND {_MINE} AND r.finished_at IS NULL AND r.desired <> 'cancelled'
        RETURNING r.*
    ), log AS (
        INSERT INTO run_events (tenant_id, run_id, seq, type, data, key)
        SELECT c.tenant_id, c.id, c.last_seq - CASE WHEN c.finished_at IS NULL THEN 0 ELSE 1 END,
               'run.cancelling', CAST(:data AS jsonb), NULL FROM changed c
        UNION ALL
        SELECT c.tenant_id, c.id, c.last_seq, 'run.cancelled', '{{}}', 'end' FROM changed c
        WHERE c.finished_at IS NOT NULL
    )
    SELECT {_COLUMNS} FROM changed r {_WITH_AGENT}
    """
)
# Without a place and parked, or never started, nobody works on it: it is paused here and now.
_PAUSE = Statement(
    f"""
    WITH changed AS (
        UPDATE runs r SET
            control_seq = r.control_seq + 1, desired = 'paused', {_SOON},
            last_seq = r.last_seq + CASE WHEN {_IDLE} THEN 2 ELSE 1 END,
            status = CASE WHEN {_IDLE} THEN 'paused' ELSE 'pausing' END
        WHERE r.id = CAST(:run AS uuid) AND {_MINE} AND r.finished_at IS NULL AND r.desired = 'run'
        RETURNING r.*
    ), log AS (
        INSERT INTO run_events (tenant_id, run_id, seq, type, data, key)
        SELECT c.tenant_id, c.id, c.last_seq - CASE c.status WHEN 'paused' THEN 1 ELSE 0 END,
               'run.pausing', CAST(:data AS jsonb), NULL FROM changed c
        UNION ALL
        SELECT c.tenant_id, c.id, c.last_seq, 'run.paused', '{{}}', 'p' || c.control_seq FROM changed c
        WHERE c.status = 'paused'
    )
    SELECT {_COLUMNS} FROM changed r {_WITH_AGENT}
    """
)
# Whether it runs again is for its tenant's places, and then for the worker to say.
_RESUME = Statement(
    f"""
    WITH changed AS (
        UPDATE runs r SET control_seq = r.control_seq + 1, last_seq = r.last_seq + 1, {_SOON}, desired = 'run'
        WHERE r.id = CAST(:run AS uuid) AND {_MINE} AND r.finished_at IS NULL AND r.desired = 'paused'
        RETURNING r.*
    ), log AS (
        INSERT INTO run_events (tenant_id, run_id, seq, type, data)
        SELECT c.tenant_id, c.id, c.last_seq, 'run.resuming', CAST(:data AS jsonb) FROM changed c
    )
    SELECT {_COLUMNS} FROM changed r {_WITH_AGENT}
    """
)
_WAYS = {"pause": _PAUSE, "resume": _RESUME, "cancel": _CANCEL}


async def add(connection: AsyncConnection, run: NewRun, places: Places = UNLIMITED) -> Recorded:
    """Record a run, which runs or waits. Raises `NoPlace`."""
    return _recorded(await _ADD.one(connection, **run._asdict(), **places._asdict()))


async def add_once(
    connection: AsyncConnection,
    run: NewRun,
    places: Places = UNLIMITED,
    *,
    subject: str,
    operation: str,
    key: str,
    digest: str,
) -> Recorded | None:
    """The same under an idempotency key; None when the key is taken. Raises `NoPlace`, and then has to be undone."""
    named = {"subject": subject, "operation": operation, "key": key, "digest": digest}
    row = await _ADD_ONCE.one(connection, **run._asdict(), **places._asdict(), **named)
    return _recorded(row) if row else None


def _recorded(row: tuple[object, ...]) -> Recorded:
    recorded = Recorded._make(row)
    if row[0] is None:
        raise NoPlace
    return recorded


async def get(connection: AsyncConnection, run_id: UUID, subject: str | None) -> tuple[RunRow, RunContent] | None:
    """A run with its content; `subject` None sees all of the tenant."""
    row = await _GET.one(connection, run=run_id, subject=subject)
    return (RunRow._make(row[:-4]), RunContent._make(row[-4:])) if row else None


async def find(connection: AsyncConnection, run_id: UUID, subject: str | None) -> RunRow | None:
    row = await _FIND.one(connection, run=run_id, subject=subject)
    return RunRow._make(row) if row else None


async def page(connection: AsyncConnection, wanted: RunFilter, limit: int) -> list[RunRow]:
    """Newest first, by id: ids are of one clock."""
    conditions = tuple(name for name, value in wanted._asdict().items() if value not in (None, ()))
    values = {name: value for name, value in wanted._asdict().items() if name in conditions}
    if "statuses" in values:
        values["statuses"] = list(wanted.statuses)
    if wanted.created_after is not None:
        values["from_id"] = _id_near(wanted.created_after, -1)
    if wanted.created_before is not None:
        values["to_id"] = _id_near(wanted.created_before, 1)
    return [RunRow._make(row) for row in await _listing(conditions).run(connection, **values, limit=limit)]


async def signal(
    connection: AsyncConnection, run_id: UUID, subject: str | None, verb: str, data: str
) -> Signalled | None:
    """Ask a run to pause, resume or cancel; None when there is no such run. `data` is JSON text of the event's data."""
    values = {"run": run_id, "subject": subject, "data": data}
    row = await _WAYS[verb].one(connection, **values)
    if row is None:
        # Somebody may ask for the opposite at this moment: decide again on a row that nobody else changes.
        if await _LOCK.one(connection, run=run_id, subject=subject) is None:
            return None
        row = await _WAYS[verb].one(connection, **values)
    if row:
        return Signalled(RunRow._make(row), True)
    found = await find(connection, run_id, subject)
    return Signalled(found, False) if found else None


_CONDITIONS = {
    "subject": "r.created_by = CAST(:subject AS text)",
    "agent": "a.slug = CAST(:agent AS text)",
    "statuses": "r.status = ANY (CAST(:statuses AS text[]))",
    "labels": "r.labels @> CAST(:labels AS jsonb)",
    "created_after": "r.created_at >= CAST(:created_after AS timestamptz) AND r.id >= CAST(:from_id AS uuid)",
    "created_before": "r.created_at < CAST(:created_before AS timestamptz) AND r.id <= CAST(:to_id AS uuid)",
    "before": "r.id < CAST(:before AS uuid)",
}


@lru_cache(maxsize=128)
def _listing(conditions: tuple[str, ...]) -> Statement:
    where = " AND ".join(_CONDITIONS[name] for name in conditions) or "true"
    return Statement(
        f"SELECT {_COLUMNS} FROM runs r {_WITH_AGENT} WHERE {where} ORDER BY r.id DESC LIMIT CAST(:limit AS int)"
    )


def _id_near(moment: datetime, seconds: int) -> UUID:
    """The id that the clock gave so long after a moment: a bound that lets the primary key find runs by time."""
    milliseconds = int((moment.timestamp() + seconds) * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80 | (0 if seconds < 0 else 2**80 - 1))
