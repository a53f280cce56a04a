"""Reading a run with its log, and committing a step: events, totals, status, ledger and files in one statement.

They are functions of the database: called outside a transaction, each is one, in one round trip. The committing
statement locks the run's row and numbers the events, so the order of commits is the order of `seq`; it is the last one.
An event whose key exists aborts all of it. What the ledger said of a call before, and so what its settling adds to the
totals, is read under the lock.
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
    tenant_status: str


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


# The functions are in the migrations. Each is one round trip, and enters the tenant by itself.
_LOAD = Statement("SELECT * FROM load_run(:tenant_id, :run_id, :after)")
_CHANGE = """
    :tenant_id, :run_id, :require_turn, :require_control, :require_desired_run, :closed_state,
    :input_tokens, :cached_input_tokens, :output_tokens, :reasoning_tokens, :cost, :closed_turn,
    :closed_attempt, :types, :turn, :status, :waiting_for, :desired, :control_seen, :started, :output,
    :output_object, :error_code, :error_message, :estimated, :opened_turn, :opened_attempt, :provider,
    :model, :reserved_tokens, :input_price, :cached_input_price, :output_price, :artifacts, :keys,
    :datas, :refs
"""
_COMMIT = Statement(f"SELECT * FROM commit_step({_CHANGE})")  # noqa: S608 - of constants
_EXPECTED = ":expected_seq, :expected_control, :expected_tokens, :expected_cost"
_COMMIT_OR_LOAD = Statement(f"SELECT * FROM commit_or_load({_EXPECTED}, {_CHANGE})")  # noqa: S608 - of constants
_SETTLE = Statement(
    """
    SELECT settle_call(
        :tenant_id, :run_id, :state, :input_tokens, :cached_input_tokens, :output_tokens, :reasoning_tokens,
        :cost, :turn, :attempt
    )
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
    return None if row is None else _loaded(row)


def _loaded(row: Any) -> LoadedRun:
    events = [
        (Event(seq, kind, data, datetime.fromisoformat(at), version), refs)
        for seq, kind, data, at, version, refs in json.loads(row[19] or "[]")
    ]
    input_object = json.loads(row[18]) if row[18] else None
    return LoadedRun(RunState(*row[:14]), row[14], row[15], row[16], row[17], input_object, events, row[20])


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
    row = await _written(_COMMIT, connection, _values(tenant_id, run_id, change))
    return Committed(*row) if row else None


async def commit_or_load(
    connection: AsyncConnection, tenant_id: UUID, run_id: UUID, change: Change, remembered: RunState
) -> Committed | LoadedRun | None:
    """Commit a step if the run stands as remembered and the fence holds; else what is new of it. None: it is gone.

    Raises what `commit` raises.
    """
    expected = {
        "expected_seq": remembered.last_seq,
        "expected_control": remembered.control_seq,
        "expected_tokens": remembered.tokens,
        "expected_cost": remembered.cost,
    }
    row = await _written(_COMMIT_OR_LOAD, connection, _values(tenant_id, run_id, change) | expected)
    if row is None:
        return None
    return Committed(row["last_seq"], row["control_seq"], row["desired"]) if row[0] else _loaded(tuple(row)[1:])


async def _written(statement: Statement, connection: AsyncConnection, values: dict[str, Any]) -> Any:
    try:
        return await statement.one(connection, **values)
    except UniqueViolationError as error:
        raise EffectTaken(str(error.constraint_name)) from error
    except DataError as error:
        raise Unstorable(str(error.sqlstate)) from error


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


def _values(tenant_id: UUID, run_id: UUID, change: Change) -> dict[str, Any]:
    key = {"tenant_id": tenant_id, "run_id": run_id}
    return key | _event_values(change) | _row_values(change) | _ledger_values(change)


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
