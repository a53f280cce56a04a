"""What an explanation is made of: a run's row, what its log says in short, who is alive, and its place in the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from libs.domain.events import Event


class Place(NamedTuple):
    """Where a run stands that waits for its turn; counted up to `COUNTED_AT_MOST`."""

    ahead: int
    waiting: int
    running: int
    limit: int | None


COUNTED_AT_MOST = 10_000


@dataclass(frozen=True)
class RunFacts:
    """The row of a run, its tenant's state and its place, of one moment: `now`, by the database's clock."""

    id: str
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
    turn: int  # answered model calls
    priority: int
    created_by: str
    created_at: datetime
    admitted_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    last_seq: int
    checks: int  # looks of the reconciler since something was asked of it
    next_check_at: datetime
    now: datetime
    tenant_status: str
    plan: str
    place: Place | None = None  # only of one that waits for its turn
    unpriced_calls: int = 0  # model calls that had no price

    @property
    def finished(self) -> bool:
        return self.finished_at is not None

    @property
    def waits_for_place(self) -> bool:
        return not self.finished and self.admitted_at is None and self.desired == "run"


class Mark(NamedTuple):
    """The last event of its type: when, and by whom and why where that was asked for."""

    at: datetime
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Failed:
    """An attempt that failed. `name` is the model's or the tool's, `kind` is model or tool."""

    kind: str
    turn: int
    index: int | None
    attempt: int
    name: str | None
    worker: str | None
    code: str
    message: str
    at: datetime
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Reason:
    """How often attempts failed for the same reason."""

    kind: str
    code: str
    count: int


class Worked(NamedTuple):
    """A worker that made attempts of the run, and when its row was last renewed (None: it left, or is long gone)."""

    label: str
    attempts: int
    first_at: datetime
    last_at: datetime
    seen_at: datetime | None


class Seconds(NamedTuple):
    """How the time since the run was accepted divides; the rest is the platform's own, between steps."""

    model: float = 0.0
    tools: float = 0.0
    paused: float = 0.0
    queue: float = 0.0  # for a place among the running runs, and for a worker
    lost: float = 0.0  # in attempts whose worker died
    retry: float = 0.0  # between a failed attempt and the next one

    @property
    def waiting(self) -> float:
        return self.paused + self.queue + self.lost + self.retry


@dataclass(frozen=True)
class LogFacts:
    """The log in short. `recent` holds what is in progress: the last answer of the model, and the attempts since."""

    counts: Mapping[str, int] = field(default_factory=dict)  # events by type
    marks: Mapping[str, Mark] = field(default_factory=dict)  # by type
    recent: tuple[Event, ...] = ()
    failures: tuple[Failed, ...] = ()  # the latest first
    reasons: tuple[Reason, ...] = ()
    workers: tuple[Worked, ...] = ()  # the latest first
    seconds: Seconds = field(default_factory=Seconds)


@dataclass(frozen=True)
class Alive:
    """Workers that serve this platform's task queue: how many are alive, and which was seen last."""

    count: int
    last_name: str | None = None
    last_seen_at: datetime | None = None


@dataclass(frozen=True)
class Facts:
    """All that is known of a run. `caller` is who asks, `allowed` names the operations that they may use."""

    run: RunFacts
    log: LogFacts
    alive: Alive
    dead_after: float  # seconds
    caller: str = ""
    allowed: frozenset[str] = frozenset()

    def lives(self, label: str) -> bool:
        """Whether the worker of an attempt is alive, as far as its row tells."""
        seen = next((worker.seen_at for worker in self.log.workers if worker.label == label), None)
        return seen is not None and self.run.now - seen < timedelta(seconds=self.dead_after)


@dataclass(frozen=True)
class Situation:
    """What a run is doing or waiting for: a stable code, since when, until when where that is known, and details."""

    code: str
    since: datetime
    until: datetime | None = None
    by: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
