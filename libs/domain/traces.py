"""Spans of a run's trace and their names, the same whoever makes them and however often."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

Value = str | int | float | bool | tuple[str, ...]
ROOT = "run"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def span_id(run_id: UUID, of: str) -> bytes:
    """Eight bytes that stand for one thing of a run: `run`, `m<turn>.<attempt>`, `t<turn>.<index>.<attempt>`."""
    return hashlib.sha256(f"{run_id.hex}/{of}".encode()).digest()[:8]


def nanoseconds(moment: datetime) -> int:
    """Since 1970, exact to the microsecond."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


@dataclass(frozen=True)
class Span:
    """One span. `call` names the model call, (turn, attempt), whose row in the ledger says what it used and cost."""

    run_id: UUID  # the trace's id
    of: str
    name: str
    started_at: datetime
    ended_at: datetime
    parent: str | None = None
    failed: bool = False
    attributes: Mapping[str, Value] = field(default_factory=dict)
    call: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """About how many bytes it will be."""
        return 200 + sum(len(name) + 12 + _length(value) for name, value in self.attributes.items())


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode())
    return sum(len(item.encode()) + 4 for item in value) if isinstance(value, tuple) else 8
