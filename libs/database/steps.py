"""Reading a run with its log, and committing a step: events, totals, status, ledger and files in one statement.

The statement locks the run's row and numbers the events, so the order of commits is the order of `seq`. It is the last
statement before COMMIT. An event whose key exists aborts all of it. What the ledger said of a call before, and so what
its settling adds to the totals, is read under the lock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from asyncpg.exceptions import DataError, UniqueViolationError
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement
from libs.domain.events import Event, NewEvent
from libs.domain.runs import Price, RunState, Usage
from libs.domain.texts import dump
from libs.domain.tools import NewArtifact


class EffectTaken(Exception):
    """Somebody else recorded this effect first: reload and decide again."""


class Unstorable(Exception):
    """PostgreSQL refuses the data itself (SQLSTATE class 22): it never will take it."""


@dataclass(frozen=True)
class LoadedRun:
    """A run and the events after `after`, of one snapshot. `input` is JSON text, or `input_object` says where it is."""

    state: RunState
    agent_id: UUID
    version: int
    created_by: str
    input: str | None
    input_object: dict[str, Any] | None
    events: list[tuple[Event, dict[str, Any] | None]]  # with their refs


@dataclass(frozen=True)
class OpenedCall:
    """A model call's row in the ledger, before it is sent."""

    turn: int
    attempt: int
    provider: str
    model: str
    reserved_tokens: int
    price: Price | None


@dataclass(frozen=True)
class ClosedCall:
    """What came of a model call: `state` is settled, estimated or not_sent."""

    turn: int
    attempt: int
    state: str
    usage: Usage
    cost: Decimal


@dataclass(frozen=True)
class Change:
    """One step's commit. The `require_*` fields are its fence, the others are what it writes; None leaves as it is."""

    events: tuple[NewEvent, ...]
    require_turn: int | None = None
    require_control: int | None = None
    require_desired_run: bool = False
    turn: int | None = None
    status: str | None = None
    waiting_for: str | None = None
    desired: str | None = None  # with it, `control_seq` rises: something is asked of the run
    control_seen: int | None = None
    started: bool = False
    output: str | None = None
    output_object: dict[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    opened: OpenedCall | None = None
    closed: ClosedCall | None = None
    artifacts: tuple[tuple[UUID, NewArtifact], ...] = field(default=())


@dataclass(frozen=True)
class Committed:
    """The row after a commit. When `last_seq` is not mine plus the number of my events, someone else wrote too."""

    last_seq: int
    control_seq: int
    desired: str


_LOAD = Statement(
    """
    SELECT r.status, r.desired, r.control_seq, r.last_seq, r.turn, r.log_version, r.started_at IS NOT NULL,
           clock_timestamp(), r.deadline_at, r.limit_steps, r.limit_tokens, r.limit_cost,
           r.input_tokens + r.output_tokens, r.cost, r.agent_id, r.version, r.created_by,
           CASE WHEN CAST(:after AS int) = 0 THEN r.input END,
           CASE WHEN CAST(:after AS int) = 0 THEN CAST(r.input_object AS text) END,
           CASE WHEN r.last_seq > CAST(:after AS int) THEN (
               SELECT CAST(json_agg(
                   json_build_array(e.seq, e.type, e.data, e.at, e.version, e.refs) ORDER BY e.seq) AS text)
               FROM run_events e
               WHERE e.tenant_id = r.tenant_id AND e.run_id = r.id AND e.seq > CAST(:after AS int)
           ) END
    FROM runs r
    WHERE r.tenant_id = CAST(:tenant_id AS uuid) AND r.id = CAST(:run_id AS uuid)
    """
)

_COMMIT = Statement(
    """
    WITH locked AS (
        SELECT r.tenant_id, r.id FROM runs r
        WHERE r.tenant_id = CAST(:tenant_id AS uuid) AND r.id = CAST(:run_id AS uuid) AND r.finished_at IS NULL
            AND (CAST(:require_turn AS int) IS NULL OR r.turn = CAST(:require_turn AS int))
            AND (CAST(:require_control AS int) IS NULL OR r.control_seq = CAST(:require_control AS int))
            AND (NOT CAST(:require_desired_run AS boolean) OR r.desired = 'run')
        FOR NO KEY UPDATE
    ), closed AS (
        UPDATE model_calls c SET
            state = CAST(:closed_state AS text), closed_at = clock_timestamp(),
            input_tokens = CAST(:input_tokens AS bigint), cached_input_tokens = CAST(:cached_input_tokens AS bigint),
            output_tokens = CAST(:output_tokens AS bigint), reasoning_tokens = CAST(:reasoning_tokens AS bigint),
            cost = CAST(:cost AS numeric)
        FROM locked
        WHERE c.tenant_id = locked.tenant_id AND c.run_id = locked.id
            AND c.turn = CAST(:closed_turn AS int) AND c.attempt = CAST(:closed_attempt AS int)
        RETURNING new.input_tokens - old.input_tokens AS input_tokens,
            new.cached_input_tokens - old.cached_input_tokens AS cached_input_tokens,
            new.output_tokens - old.output_tokens AS output_tokens,
            new.reasoning_tokens - old.reasoning_tokens AS reasoning_tokens, new.cost - old.cost AS cost
    ), run AS (
        UPDATE runs r SET
            last_seq = r.last_seq + cardinality(CAST(:types AS text[])),
            turn = COALESCE(CAST(:turn AS int), r.turn),
            status = COALESCE(CAST(:status AS text), r.status),
            waiting_for = CASE WHEN CAST(:status AS text) IS NULL THEN r.waiting_for
                          ELSE CAST(:waiting_for AS text) END,
            desired = COALESCE(CAST(:desired AS text), r.desired),
            control_seq = r.control_seq + CASE WHEN CAST(:desired AS text) IS NULL THEN 0 ELSE 1 END,
            control_seen = GREATEST(r.control_seen, COALESCE(CAST(:control_seen AS int), r.control_seen)),
            started_at = CASE WHEN CAST(:started AS boolean) THEN COALESCE(r.started_at, clock_timestamp())
                         ELSE r.started_at END,
            finished_at = CASE WHEN CAST(:status AS text) IN ('completed', 'failed', 'cancelled')
                          THEN clock_timestamp() END,
            output = CAST(:output AS text),
            output_object = CAST(:output_object AS jsonb),
            error_code = CAST(:error_code AS text),
            error_message = CAST(:error_message AS text),
            input_tokens = r.input_tokens + COALESCE(closed.input_tokens, 0),
            cached_input_tokens = r.cached_input_tokens + COALESCE(closed.cached_input_tokens, 0),
            output_tokens = r.output_tokens + COALESCE(closed.output_tokens, 0),
            reasoning_tokens = r.reasoning_tokens + COALESCE(closed.reasoning_tokens, 0),
            cost = r.cost + COALESCE(closed.cost, 0),
            estimated = r.estimated OR CAST(:estimated AS boolean)
        FROM locked LEFT JOIN closed ON true
        WHERE r.tenant_id = locked.tenant_id AND r.id = locked.id
        RETURNING r.tenant_id, r.id, r.last_seq, r.control_seq, r.desired, r.created_by
    ), opened AS (
        INSERT INTO model_calls (tenant_id, run_id, turn, attempt, provider, model, reserved_tokens,
                                 input_price, cached_input_price, output_price)
        SELECT run.tenant_id, run.id, CAST(:opened_turn AS int), CAST(:opened_attempt AS int), CAST(:provider AS text),
               CAST(:model AS text), CAST(:reserved_tokens AS bigint), CAST(:input_price AS numeric),
               CAST(:cached_input_price AS numeric), CAST(:output_price AS numeric)
        FROM run WHERE CAST(:opened_turn AS int) IS NOT NULL
    ), files AS (
        INSERT INTO artifacts (id, tenant_id, run_id, name, media_type, size, sha256, object_key, created_by)
        SELECT a.id, run.tenant_id, run.id, a.name, a.media_type, a.size, a.sha256, a.object_key, run.created_by
        FROM run, jsonb_to_recordset(CAST(:artifacts AS jsonb)) AS
            a (id uuid, name text, media_type text, size bigint, sha256 text, object_key text)
    ), log AS (
        INSERT INTO run_events (tenant_id, run_id, seq, type, key, data, refs)
        SELECT run.tenant_id, run.id, run.last_seq - cardinality(CAST(:types AS text[])) + e.position,
               e.type, e.key, CAST(e.data AS jsonb), CAST(e.refs AS jsonb)
        FROM run, unnest(CAST(:types AS text[]), CAST(:keys AS text[]), CAST(:datas AS text[]), CAST(:refs AS text[]))
            WITH ORDINALITY AS e (type, key, data, refs, position)
    )
    SELECT last_seq, control_seq, desired FROM run
    """
)

_SETTLE = Statement(
    """
    WITH run AS (
        SELECT tenant_id, id FROM runs
        WHERE tenant_id = CAST(:tenant_id AS uuid) AND id = CAST(:run_id AS uuid) FOR NO KEY UPDATE
    ), closed AS (
        UPDATE model_calls c SET
            state = CAST(:state AS text), closed_at = clock_timestamp(),
            input_tokens = CAST(:input_tokens AS bigint), cached_input_tokens = CAST(:cached_input_tokens AS bigint),
            output_tokens = CAST(:output_tokens AS bigint), reasoning_tokens = CAST(:reasoning_tokens AS bigint),
            cost = CAST(:cost AS numeric)
        FROM run
        WHERE c.tenant_id = run.tenant_id AND c.run_id = run.id
            AND c.turn = CAST(:turn AS int) AND c.attempt = CAST(:attempt AS int) AND c.state IN ('open', 'estimated')
        RETURNING c.tenant_id, c.run_id, new.input_tokens - old.input_tokens AS input_tokens,
            new.cached_input_tokens - old.cached_input_tokens AS cached_input_tokens,
            new.output_tokens - old.output_tokens AS output_tokens,
            new.reasoning_tokens - old.reasoning_tokens AS reasoning_tokens, new.cost - old.cost AS cost
    )
    UPDATE runs r SET
        input_tokens = r.input_tokens + closed.input_tokens,
        cached_input_tokens = r.cached_input_tokens + closed.cached_input_tokens,
        output_tokens = r.output_tokens + closed.output_tokens,
        reasoning_tokens = r.reasoning_tokens + closed.reasoning_tokens,
        cost = r.cost + closed.cost
    FROM closed WHERE r.tenant_id = closed.tenant_id AND r.id = closed.run_id
    """
)

_SPEC = Statement(
    """
    SELECT spec FROM agent_versions
    WHERE tenant_id = CAST(:tenant_id AS uuid) AND agent_id = CAST(:agent_id AS uuid) AND number = CAST(:number AS int)
    """
)


async def load(connection: AsyncConnection, tenant_id: UUID, run_id: UUID, after: int) -> LoadedRun | None:
    """The run and its events after `after`; its input only with `after` 0."""
    row = await _LOAD.one(connection, tenant_id=tenant_id, run_id=run_id, after=after)
    if row is None:
        return None
    events = [
        (Event(seq, kind, data, datetime.fromisoformat(at), version), refs)
        for seq, kind, data, at, version, refs in json.loads(row[19] or "[]")
    ]
    return LoadedRun(
        RunState(*row[:14]), row[14], row[15], row[16], row[17], json.loads(row[18]) if row[18] else None, events
    )


async def spec(connection: AsyncConnection, tenant_id: UUID, agent_id: UUID, number: int) -> str:
    """The spec of a version, JSON text as it was received."""
    row = await _SPEC.one(connection, tenant_id=tenant_id, agent_id=agent_id, number=number)
    return str(row[0])


async def new_ids(connection: AsyncConnection, count: int) -> list[UUID]:
    """Ids of PostgreSQL's clock, for rows that an event names."""
    result = await connection.exec_driver_sql("SELECT uuidv7() FROM generate_series(1, $1)", (count,))
    return [row[0] for row in result]


async def commit(connection: AsyncConnection, tenant_id: UUID, run_id: UUID, change: Change) -> Committed | None:
    """Commit a step; None when its fence did not hold, and then nothing was written.

    Raises:
        EffectTaken: an event's key exists.
        Unstorable: PostgreSQL refuses the data.
    """
    values = _event_values(change) | _row_values(change) | _ledger_values(change)
    try:
        row = await _COMMIT.one(connection, tenant_id=tenant_id, run_id=run_id, **values)
    except UniqueViolationError as error:
        raise EffectTaken(str(error.constraint_name)) from error
    except DataError as error:
        raise Unstorable(str(error.sqlstate)) from error
    return Committed(*row) if row else None


async def settle(connection: AsyncConnection, tenant_id: UUID, run_id: UUID, closed: ClosedCall) -> None:
    """Settle the ledger row of a call whose commit lost; the money was spent all the same."""
    await _SETTLE.run(
        connection,
        tenant_id=tenant_id,
        run_id=run_id,
        turn=closed.turn,
        attempt=closed.attempt,
        state=closed.state,
        cost=closed.cost,
        **closed.usage.as_data(),
    )


def _event_values(change: Change) -> dict[str, Any]:
    return {
        "types": [event.type for event in change.events],
        "keys": [event.key for event in change.events],
        "datas": [dump(event.data) for event in change.events],
        "refs": [dump(event.refs) if event.refs else None for event in change.events],
        "artifacts": dump([_artifact_values(id_, artifact) for id_, artifact in change.artifacts]),
    }


def _artifact_values(id_: UUID, artifact: NewArtifact) -> dict[str, Any]:
    return {
        "id": str(id_),
        "name": artifact.name,
        "media_type": artifact.media_type,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "object_key": artifact.object_key,
    }


def _row_values(change: Change) -> dict[str, Any]:
    return {
        "require_turn": change.require_turn,
        "require_control": change.require_control,
        "require_desired_run": change.require_desired_run,
        "turn": change.turn,
        "status": change.status,
        "waiting_for": change.waiting_for,
        "desired": change.desired,
        "control_seen": change.control_seen,
        "started": change.started,
        "output": change.output,
        "output_object": dump(change.output_object) if change.output_object else None,
        "error_code": change.error_code,
        "error_message": change.error_message,
    }


def _ledger_values(change: Change) -> dict[str, Any]:
    opened, closed = change.opened, change.closed
    price = opened.price if opened else None
    usage = closed.usage if closed else Usage()
    return {
        "opened_turn": opened.turn if opened else None,
        "opened_attempt": opened.attempt if opened else None,
        "provider": opened.provider if opened else None,
        "model": opened.model if opened else None,
        "reserved_tokens": opened.reserved_tokens if opened else None,
        "input_price": price.input if price else None,
        "cached_input_price": price.cached_input if price else None,
        "output_price": price.output if price else None,
        "closed_turn": closed.turn if closed else None,
        "closed_attempt": closed.attempt if closed else None,
        "closed_state": closed.state if closed else None,
        "cost": closed.cost if closed else Decimal(0),
        "estimated": usage.estimated,
        **usage.as_data(),
    }
