"""Messages between the API, the workflow and its activities.

They outlive a deploy: fields are only added, with defaults, and a default is not written (`libs.clients.temporal`).
Activities know their run by the id of their workflow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

AGENT_RUN = "agent-run"  # workflow type
WAKE = "wake"  # signal
TAKE_TURN = "take_turn"  # activities
RUN_TOOL = "run_tool"
FINISH_RUN = "finish_run"
WORKER_LOST = "worker_lost"  # failure type and end code
CANCEL_REQUESTED = "cancel_requested"  # code of an EndRequest that only asks for a cancel
SUSPECTS = "-suspects"  # suffix of the queue on which a step that lost its worker twice goes on


@dataclass(frozen=True)
class RunRef:
    """Which run; the worker needs the tenant before its first read. `deadline` is seconds since the epoch."""

    tenant_id: str
    run_id: str
    deadline: float | None = None
    v: int = 1


@dataclass(frozen=True)
class Wake:
    """Something was asked of the run: how much of it there is to read, and whether to stop what is in progress."""

    control_seq: int
    stop: bool = False


@dataclass(frozen=True)
class CallRef:
    """A tool call of a turn."""

    turn: int
    index: int = 0


@dataclass(frozen=True)
class CallPlan:
    """A call that an activity of its own is to make. `name` only labels the activity in Temporal's UI."""

    turn: int
    index: int = 0
    name: str = ""
    timeout: float = 30.0  # seconds
    queue: str | None = None


@dataclass(frozen=True)
class Unfinished:
    """A call whose activity ended without a result: how is `failed`, `timeout`, `lost`, `deadly` or `stopped`."""

    turn: int
    index: int
    kind: str


@dataclass(frozen=True)
class TurnRequest:
    """Input of `take_turn`."""

    unfinished: list[Unfinished] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """What `take_turn` tells the workflow; all of it can be read from the log as well.

    Exactly one holds: `finished`; `waiting` (until `control_seq` is exceeded or `until`, seconds since the epoch);
    `calls` to run; or none, which means another turn at once.
    """

    finished: bool = False
    waiting: bool = False
    control_seq: int = 0
    until: float | None = None
    calls: list[CallPlan] = field(default_factory=list)


@dataclass(frozen=True)
class ToolOutcome:
    """What `run_tool` tells the workflow: the result is committed, or the call should be given to another worker."""

    again: bool = False


@dataclass(frozen=True)
class EndRequest:
    """Input of `finish_run`: the typed end that no turn could write."""

    code: str
    message: str = ""
