"""The facts of a run's log: their types, and the keys under which an effect can be recorded only once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

LOG_VERSION = 1  # the newest log that this code understands

RUN_QUEUED = "run.queued"
RUN_STARTED = "run.started"
RUN_PAUSING = "run.pausing"
RUN_PAUSED = "run.paused"
RUN_RESUMING = "run.resuming"
RUN_RESUMED = "run.resumed"
RUN_CANCELLING = "run.cancelling"
RUN_COMPLETED = "run.completed"
RUN_FAILED = "run.failed"
RUN_CANCELLED = "run.cancelled"
MODEL_STARTED = "model.started"
MODEL_FAILED = "model.failed"
MODEL_COMPLETED = "model.completed"
TOOL_STARTED = "tool.started"
TOOL_FAILED = "tool.failed"
TOOL_COMPLETED = "tool.completed"
ARTIFACT_CREATED = "artifact.created"
OUTPUT_REJECTED = "output.rejected"

TERMINAL = {RUN_COMPLETED: "completed", RUN_FAILED: "failed", RUN_CANCELLED: "cancelled"}

# Codes of attempts that ended through no fault of the provider.
WORKER_LOST = "worker_lost"
HANDED_BACK = "handed_back"
STOPPED = "stopped"
NOT_THE_PROVIDERS = frozenset({WORKER_LOST, HANDED_BACK, STOPPED})
# Codes of results that the platform wrote itself.
INVALID_ARGUMENTS = "invalid_arguments"
OUTCOME_UNKNOWN = "outcome_unknown"
TOOL_ERROR = "tool_error"

# Unique keys within a run. A second event with the same key aborts its whole statement.
END = "end"


def model_opened(turn: int, attempt: int) -> str:
    return f"m{turn}.{attempt}"


def model_closed(turn: int, attempt: int) -> str:
    return f"m{turn}.{attempt}.x"


def turn_committed(turn: int) -> str:
    return f"m{turn}"


def tool_opened(turn: int, index: int, attempt: int) -> str:
    return f"t{turn}.{index}.{attempt}"


def tool_closed(turn: int, index: int, attempt: int) -> str:
    return f"t{turn}.{index}.{attempt}.x"


def tool_result(turn: int, index: int) -> str:
    return f"t{turn}.{index}"


def paused(control_seq: int) -> str:
    return f"p{control_seq}"


def resumed(control_seq: int) -> str:
    return f"r{control_seq}"


def output_judged(turn: int) -> str:
    return f"o{turn}"


@dataclass(frozen=True)
class Event:
    """One committed fact."""

    seq: int
    type: str
    data: dict[str, Any]
    at: datetime
    version: int = 1


@dataclass(frozen=True)
class NewEvent:
    """A fact to be committed. `refs` maps a JSON pointer in `data` (null there) to the object that holds the value."""

    type: str
    data: dict[str, Any]
    key: str | None = None
    refs: dict[str, dict[str, Any]] | None = None
    moved: dict[str, Any] = field(default_factory=dict)  # the values behind `refs`, for whoever has them at hand

    @property
    def whole(self) -> dict[str, Any]:
        """The data with its large values in place."""
        return self.data | self.moved


class UnknownEvent(Exception):
    """The log has an event that this code does not understand: a newer worker must take the run."""
