"""The agent's loop as a pure function: what comes next, given the log and what is asked of the run."""

from __future__ import annotations

from dataclasses import dataclass

from libs.domain.errors import Failure
from libs.domain.events import LOG_VERSION, UnknownEvent
from libs.domain.outputs import MAX_REJECTIONS
from libs.domain.run_log import Call, RunLog, Turn
from libs.domain.runs import RunState

MODEL_ATTEMPTS = 6


@dataclass(frozen=True)
class Done:
    """The run has ended; there is nothing to do."""


@dataclass(frozen=True)
class Cancel:
    """A cancel was committed: end the run."""


@dataclass(frozen=True)
class Pause:
    """A pause was asked for: park the run."""


@dataclass(frozen=True)
class Fail:
    """A limit is reached: end the run with a typed reason."""

    failure: Failure


@dataclass(frozen=True)
class Conclude:
    """The last turn has an answer without calls that nobody judged yet: complete the run, or give it back."""

    turn: Turn


@dataclass(frozen=True)
class RunCalls:
    """Calls of the last turn have no result yet."""

    turn: Turn
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class CallModel:
    """Ask the model for turn number `turn`."""

    turn: int


Action = Done | Cancel | Pause | Fail | Conclude | RunCalls | CallModel


def next_action(log: RunLog, state: RunState, model_attempts: int = MODEL_ATTEMPTS) -> Action:
    """What comes next; `model_attempts` failures of the provider at one turn end the run.

    A committed cancel beats a failure, a failure or deadline beats a pause, and all of them beat further work.

    Raises:
        UnknownEvent: the log is newer than this code.
    """
    if state.log_version > LOG_VERSION:
        raise UnknownEvent(f"log version {state.log_version}")
    if log.end or state.finished:
        return Done()
    if state.desired == "cancelled":
        return Cancel()
    if log.fatal is not None:
        return Fail(log.fatal)
    if state.overdue:
        return Fail(Failure("deadline_exceeded", "The run did not end within its limit of time (limits.seconds)."))
    if state.desired == "paused":
        return Pause()
    return _next_work(log, state, model_attempts)


def _next_work(log: RunLog, state: RunState, model_attempts: int) -> Action:
    turn = log.turn
    if turn is not None and turn.unanswered:
        return RunCalls(turn, turn.unanswered)
    if turn is not None and not turn.calls and not turn.rejected:
        return Conclude(turn)
    if log.rejections >= MAX_REJECTIONS:
        return Fail(Failure("invalid_output", f"{log.rejections} answers in a row were not of the form asked for."))
    if log.failed_attempts >= model_attempts:
        code = next(a.code for a in reversed(log.attempts) if not a.open)
        return Fail(Failure("model_error", f"The model call failed {log.failed_attempts} times, at last: {code}."))
    if state.limit_steps is not None and state.turn >= state.limit_steps:
        return Fail(Failure("budget_exceeded", f"The run used its {state.limit_steps} steps (limits.steps)."))
    return CallModel(state.turn + 1)
