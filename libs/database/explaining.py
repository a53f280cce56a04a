"""What an explanation reads: a run's row with its place, its log in short, and who is alive.

The log is folded by PostgreSQL in one pass over rows without their contents, so that a long one costs little; only what
is in progress is read as events. It is read up to the seq of the row, so that the two agree.
"""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.admission import HOLDS, WAITS
from libs.database.runs import UNPRICED
from libs.database.statements import Statement
from libs.domain.events import Event
from libs.domain.explanation.facts import (
    COUNTED_AT_MOST,
    Alive,
    Failed,
    LogFacts,
    Mark,
    Place,
    Reason,
    RunFacts,
    Seconds,
    Worked,
)

MOST_RECENT, MOST_FAILURES, MOST_WORKERS = 40, 10, 20
_RUN = Statement(
    f"""
    SELECT CAST(r.id AS text), a.slug, r.version, r.status, r.waiting_for, r.desired, r.error_code, r.error_message,
        r.input_tokens, r.cached_input_tokens, r.output_tokens, r.reasoning_tokens, r.cost, r.estimated, r.turn,
        r.priority, r.created_by, r.created_at, r.admitted_at, r.started_at, r.finished_at, r.deadline_at, r.last_seq,
        r.checks, r.next_check_at, clock_timestamp(), t.status, t.plan, place.ahead, place.waiting, place.running,
        p.running_runs, {UNPRICED}
    FROM runs r
    JOIN agents a ON a.tenant_id = r.tenant_id AND a.id = r.agent_id
    JOIN tenants t ON t.id = r.tenant_id
    JOIN plans p ON p.slug = t.plan
    LEFT JOIN LATERAL (
        SELECT (SELECT count(*) FROM (
                SELECT FROM runs q WHERE q.tenant_id = r.tenant_id AND {WAITS}
                    AND (q.priority, q.id) < (r.priority, r.id) LIMIT {COUNTED_AT_MOST}) AS first) AS ahead,
            (SELECT count(*) FROM (
                SELECT FROM runs q WHERE q.tenant_id = r.tenant_id AND {WAITS} LIMIT {COUNTED_AT_MOST}) AS queue)
                AS waiting,
            (SELECT count(*) FROM (
                SELECT FROM runs q WHERE q.tenant_id = r.tenant_id AND {HOLDS} LIMIT {COUNTED_AT_MOST}) AS held)
                AS running
    ) AS place ON r.admitted_at IS NULL AND r.finished_at IS NULL AND r.desired = 'run'
    WHERE r.id = CAST(:run AS uuid) AND (CAST(:subject AS text) IS NULL OR r.created_by = CAST(:subject AS text))
    """
)
_ALIVE = Statement(
    """
    SELECT count(*) FILTER (WHERE seen_at > clock_timestamp() - make_interval(secs => CAST(:dead_after AS float8))),
        (array_agg(name ORDER BY seen_at DESC))[1], max(seen_at)
    FROM workers WHERE task_queue = CAST(:task_queue AS text)
    """
)
# Each fact beside the next one of its thread: the run itself, the model, or one tool call, which its key names.
_LOG = Statement(
    f"""
    WITH log AS MATERIALIZED (
        SELECT seq, type, at, key,
            CASE WHEN type IN ('model.started', 'tool.started') THEN data ->> 'worker' END AS worker,
            CASE WHEN type IN ('model.failed', 'tool.failed') THEN data ->> 'code' END AS code
        FROM run_events WHERE run_id = CAST(:run AS uuid) AND seq <= CAST(:upto AS int)
    ), told AS (
        SELECT log.*, lag(type) OVER thread AS before, lead(type) OVER thread AS after,
            lead(at) OVER thread AS till, lead(code) OVER thread AS end_code
        FROM log
        WINDOW thread AS (PARTITION BY CASE split_part(type, '.', 1)
            WHEN 'run' THEN 'run' WHEN 'model' THEN 'model'
            WHEN 'tool' THEN 'tool ' || split_part(key, '.', 1) || '.' || split_part(key, '.', 2) ELSE type END
            ORDER BY seq)
    ), seen AS (
        SELECT told.*, w.seen_at, w.id IS NULL OR w.seen_at <= CAST(:dead_before AS timestamptz) AS dead
        FROM told LEFT JOIN workers w ON told.worker IS NOT NULL AND right(told.worker, 36) = CAST(w.id AS text)
    ), span AS (
        SELECT CASE
                WHEN type LIKE '%.started' AND worker IS NOT NULL THEN
                    CASE WHEN end_code = 'worker_lost' THEN 'lost' ELSE split_part(type, '.', 1) END
                WHEN type IN ('model.failed', 'tool.failed')
                    AND (after LIKE '%.started' OR (after IS NULL AND CAST(:live AS boolean))) THEN 'retry'
                WHEN type = 'run.paused' AND before = 'run.pausing' THEN 'paused'
                WHEN type IN ('run.queued', 'run.paused') OR (type = 'run.resuming' AND before = 'run.paused')
                    THEN 'queue'
            END AS kind,
            at AS since,
            CASE WHEN till IS NULL AND worker IS NOT NULL AND dead AND CAST(:live AS boolean)
                THEN coalesce(seen_at, at) ELSE coalesce(till, CAST(:until AS timestamptz)) END AS till
        FROM seen
        UNION ALL
        SELECT 'lost', at, CAST(:until AS timestamptz) FROM seen
        WHERE till IS NULL AND worker IS NOT NULL AND dead AND CAST(:live AS boolean)
    ), ranges AS (
        SELECT kind, range_agg(tstzrange(since, greatest(since, till))) AS times
        FROM span WHERE kind IS NOT NULL GROUP BY kind
    ), each AS (
        SELECT coalesce((SELECT times FROM ranges WHERE kind = 'model'), '{{}}') AS model,
            coalesce((SELECT times FROM ranges WHERE kind = 'tool'), '{{}}') AS tool,
            coalesce((SELECT times FROM ranges WHERE kind = 'paused'), '{{}}') AS paused,
            coalesce((SELECT times FROM ranges WHERE kind = 'queue'), '{{}}') AS queue,
            coalesce((SELECT times FROM ranges WHERE kind = 'lost'), '{{}}') AS lost,
            coalesce((SELECT times FROM ranges WHERE kind = 'retry'), '{{}}') AS retry
    ), apart (place, times) AS (
        SELECT split.* FROM each, LATERAL (VALUES (1, model), (2, tool - model), (3, paused - (model + tool)),
            (4, queue - (model + tool + paused)), (5, lost - (model + tool + paused + queue)),
            (6, retry - (model + tool + paused + queue + lost))) AS split
    )
    SELECT
        (SELECT json_object_agg(type, n) FROM (SELECT type, count(*) AS n FROM log GROUP BY type) AS counted),
        (SELECT json_agg(json_build_array(split_part(type, '.', 1), code, n) ORDER BY n DESC, code) FROM (
            SELECT type, code, count(*) AS n FROM log WHERE code IS NOT NULL GROUP BY type, code) AS reasons),
        (SELECT json_agg(json_build_array(label, n, first_at, last_at, seen_at) ORDER BY last_at DESC) FROM (
            SELECT worker AS label, count(*) AS n, min(at) AS first_at, max(at) AS last_at, max(seen_at) AS seen_at
            FROM seen WHERE worker IS NOT NULL GROUP BY worker ORDER BY last_at DESC LIMIT {MOST_WORKERS}) AS working),
        (SELECT json_agg(json_build_array(type, at, data ->> 'by', data ->> 'reason')) FROM run_events
            WHERE run_id = CAST(:run AS uuid)
            AND seq IN (SELECT max(seq) FROM log WHERE type LIKE 'run.%' GROUP BY type)),
        (SELECT json_agg(coalesce(
            (SELECT extract(epoch FROM sum(upper(part) - lower(part))) FROM unnest(times) AS part), 0) ORDER BY place)
            FROM apart)
    """
)
# The last answer, of its calls those without a result, and of each of these and of the model the newest events: however
# many attempts one of them took, what the others do is seen. When the last event of all was tells how long it stands.
_RECENT = Statement(
    f"""
    WITH answer AS MATERIALIZED (
        SELECT coalesce(max(seq), 0) AS seq FROM run_events
        WHERE run_id = CAST(:run AS uuid) AND seq <= CAST(:upto AS int) AND type = 'model.completed'
    ), done AS MATERIALIZED (
        SELECT e.data -> 'index' AS index FROM run_events e, answer
        WHERE e.run_id = CAST(:run AS uuid) AND e.seq > answer.seq AND e.seq <= CAST(:upto AS int)
            AND e.type = 'tool.completed'
    ), since AS (
        SELECT e.seq, e.type, e.at, e.data,
            row_number() OVER (PARTITION BY split_part(e.type, '.', 1), e.data -> 'index' ORDER BY e.seq DESC) AS age
        FROM run_events e, answer
        WHERE e.run_id = CAST(:run AS uuid) AND e.seq > answer.seq AND e.seq <= CAST(:upto AS int) AND (
            e.type IN ('model.started', 'model.failed') OR e.seq = CAST(:upto AS int)
            OR (e.type LIKE 'tool.%' AND e.data -> 'index' NOT IN (SELECT index FROM done)))
    )
    SELECT e.seq, e.type, e.at, CAST(json_build_object('turn', e.data -> 'turn', 'tool_calls', (
            SELECT json_agg(json_build_object('index', call -> 'index', 'name', call -> 'name'))
            FROM jsonb_array_elements(e.data -> 'tool_calls') AS call
            WHERE call -> 'index' NOT IN (SELECT index FROM done))) AS text)
    FROM run_events e, answer WHERE e.run_id = CAST(:run AS uuid) AND e.seq = answer.seq
    UNION ALL
    SELECT seq, type, at, CAST(data - CAST('{{content,output}}' AS text[]) AS text) FROM since
    WHERE age <= {MOST_RECENT}
    ORDER BY seq
    """
)
# A failed attempt is told with the event that opened it: its key is the same without the last two characters.
_FAILURES = Statement(
    f"""
    SELECT split_part(f.type, '.', 1), f.data ->> 'turn', f.data ->> 'index', f.data ->> 'attempt',
        coalesce(o.data ->> 'name', (o.data ->> 'provider') || '/' || (o.data ->> 'model')), o.data ->> 'worker',
        f.data ->> 'code', f.data ->> 'message', f.at, f.data ->> 'retry_at'
    FROM run_events f LEFT JOIN run_events o
        ON o.tenant_id = f.tenant_id AND o.run_id = f.run_id AND o.key = left(f.key, -2)
    WHERE f.run_id = CAST(:run AS uuid) AND f.seq <= CAST(:upto AS int) AND f.type IN ('model.failed', 'tool.failed')
    ORDER BY f.seq DESC LIMIT {MOST_FAILURES}
    """
)


async def run(connection: AsyncConnection, run_id: UUID, subject: str | None) -> RunFacts | None:
    """The row and its place; `subject` None sees all of the tenant."""
    row = await _RUN.one(connection, run=run_id, subject=subject)
    if row is None:
        return None
    *values, ahead, waiting, running, limit, unpriced = row
    found = replace(RunFacts(*values), unpriced_calls=unpriced)
    return found if ahead is None else replace(found, place=Place(ahead, waiting, running, limit))


async def alive(connection: AsyncConnection, task_queue: str, dead_after: float) -> Alive:
    return Alive(*await _ALIVE.one(connection, task_queue=task_queue, dead_after=dead_after))


async def log(connection: AsyncConnection, run_id: UUID, found: RunFacts, dead_before: datetime) -> LogFacts:
    """The log as far as the row goes; a worker whose row was last renewed at `dead_before` counts as dead."""
    log_of: dict[str, Any] = {"run": run_id, "upto": found.last_seq}
    counts, reasons, workers, marks, seconds = await _LOG.one(
        connection,
        **log_of,
        live=found.finished_at is None,
        until=found.finished_at or found.now,
        dead_before=dead_before,
    )
    recent = [] if found.finished else await _RECENT.run(connection, **log_of)
    failures = await _FAILURES.run(connection, **log_of) if reasons else []
    return LogFacts(
        counts=counts or {},
        marks={kind: Mark(_time(at), by, why) for kind, at, by, why in marks or ()},
        recent=tuple(Event(seq, kind, json.loads(data), at) for seq, kind, at, data in recent),
        failures=tuple(_failed(row) for row in failures),
        reasons=tuple(Reason(*each) for each in reasons or ()),
        workers=tuple(
            Worked(label, n, _time(first), _time(last), _time(seen) if seen else None)
            for label, n, first, last, seen in workers or ()
        ),
        seconds=Seconds(*seconds),
    )


def _failed(row: Any) -> Failed:
    kind, turn, index, attempt, name, worker, code, message, at, retry_at = row
    return Failed(
        kind,
        int(turn),
        None if index is None else int(index),
        int(attempt),
        name,
        worker,
        code or "unknown",
        message or "",
        at,
        _time(retry_at) if retry_at else None,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
