"""What the row of a run says at one moment: what is asked of it, what it has used, what it may use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

FINISHED = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True)
class RunState:
    """Read with the log in one statement, so that the two agree. `now` is the database's clock."""

    status: str
    desired: str  # run | paused | cancelled; paused also without a place among the running ones
    control_seq: int
    last_seq: int
    turn: int  # committed turns
    log_version: int
    started: bool
    now: datetime
    deadline_at: datetime | None
    limit_steps: int | None
    limit_tokens: int | None
    limit_cost: Decimal | None
    tokens: int  # input and output together
    cost: Decimal  # USD

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def overdue(self) -> bool:
        return self.deadline_at is not None and self.now >= self.deadline_at

    @property
    def time_left(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self.deadline_at is None else (self.deadline_at - self.now).total_seconds()


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more model calls, by the provider's count or estimated."""

    input_tokens: int = 0
    cached_input_tokens: int = 0  # part of input_tokens
    output_tokens: int = 0
    reasoning_tokens: int = 0  # part of output_tokens
    estimated: bool = False

    def as_data(self) -> dict[str, int]:
        return {
            "input_tokens": self.input_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    input: Decimal
    cached_input: Decimal
    output: Decimal

    def of(self, usage: Usage) -> Decimal:
        fresh = max(usage.input_tokens - usage.cached_input_tokens, 0)
        total = fresh * self.input + usage.cached_input_tokens * self.cached_input + usage.output_tokens * self.output
        return total / 1_000_000

    def as_data(self) -> dict[str, str]:
        return {"input": str(self.input), "cached_input": str(self.cached_input), "output": str(self.output)}

    @classmethod
    def of_data(cls, data: dict[str, str]) -> Price:
        return cls(Decimal(data["input"]), Decimal(data["cached_input"]), Decimal(data["output"]))
