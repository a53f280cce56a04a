"""A run's log, folded: what was asked, answered, opened and left open. Pure; events are applied in order of seq."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from libs.domain import events
from libs.domain.errors import Failure
from libs.domain.events import Event, UnknownEvent
from libs.domain.runs import Price


@dataclass(frozen=True)
class Call:
    """A tool call as the model wrote it; `arguments` is its text."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass
class Attempt:
    """One attempt at a model or tool call, from its opening. `claim` names the activity that opened it."""

    number: int
    worker: str
    at: datetime
    claim: str | None = None
    open: bool = True
    sent: bool = True
    code: str | None = None
    price: Price | None = None  # of a model call, at its opening
    priced: bool = False  # whether the opening says what the price was, or that there was none
    retry_at: datetime | None = None  # when the next may be made, if it is not at once


@dataclass(frozen=True)
class Result:
    """What a tool call came to. `code` says why it is an error, where the platform knows."""

    content: str
    is_error: bool = False
    code: str | None = None


@dataclass
class Turn:
    """A committed answer of the model, and its calls."""

    number: int
    attempt: int  # the one that was committed
    content: str
    calls: tuple[Call, ...]
    finish_reason: str
    input_tokens: int
    output_tokens: int
    attempts: dict[int, list[Attempt]] = field(default_factory=dict)  # by call index
    results: dict[int, Result] = field(default_factory=dict)
    rejected: bool = False

    def failures(self, index: int) -> int:
        """Attempts at a call that failed; lost workers and stops do not count."""
        return sum(1 for a in self.attempts.get(index, []) if not a.open and a.code not in events.NOT_THE_PROVIDERS)

    @property
    def unanswered(self) -> tuple[Call, ...]:
        return tuple(call for call in self.calls if call.index not in self.results)

    def last_attempt(self, index: int) -> Attempt | None:
        attempts = self.attempts.get(index)
        return attempts[-1] if attempts else None


@dataclass
class RunLog:
    """The fold. `messages` is the conversation in the OpenAI format: only ever appended to."""

    last_seq: int = 0
    turns: list[Turn] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)  # at the turn that is not committed yet
    messages: list[dict[str, Any]] = field(default_factory=list)
    rejections: int = 0  # answers in a row that the platform gave back to the model
    fatal: Failure | None = None  # a failure after which nothing is tried again
    end: str | None = None  # terminal status
    artifacts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def turn(self) -> Turn | None:
        return self.turns[-1] if self.turns else None

    @property
    def open_attempt(self) -> Attempt | None:
        """The model call in progress, or left open by a worker that died."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].open else None

    @property
    def open_tool_attempts(self) -> list[tuple[int, int, Attempt]]:
        """(turn, call index, attempt) of tool calls in progress, or left open by a worker that died."""
        turn = self.turn
        if turn is None:
            return []
        attempts = [(turn.number, index, tried[-1]) for index, tried in turn.attempts.items() if tried]
        return [(number, index, attempt) for number, index, attempt in attempts if attempt.open]

    @property
    def failed_attempts(self) -> int:
        """Attempts at the coming turn that the provider failed; lost workers and stops do not count."""
        return sum(1 for attempt in self.attempts if not attempt.open and attempt.code not in events.NOT_THE_PROVIDERS)

    def messages_with(self, results: dict[int, Result]) -> list[dict[str, Any]]:
        """The conversation if these were the results of the last turn's calls that have none yet."""
        turn = self.turns[-1]
        return [*self.messages, *_tool_messages(turn, turn.results | results)]

    def apply(self, event: Event) -> None:
        """Take in the next event.

        Raises:
            UnknownEvent: its type or version is newer than this code.
            ValueError: it is not the next one.
        """
        if event.seq <= self.last_seq:
            return
        if event.seq != self.last_seq + 1:
            raise ValueError(f"event {event.seq} after {self.last_seq}: the log has a gap")
        handler = _HANDLERS.get(event.type)
        if handler is None or event.version > events.LOG_VERSION:
            raise UnknownEvent(f"{event.type} version {event.version}")
        handler(self, event)
        self.last_seq = event.seq


def _ignored(log: RunLog, event: Event) -> None:
    """Known, and without consequence for what comes next."""


def _model_started(log: RunLog, event: Event) -> None:
    attempt = _opened(event)
    attempt.priced = "price" in event.data
    if price := event.data.get("price"):
        attempt.price = Price.of_data(price)
    log.attempts.append(attempt)


def _opened(event: Event) -> Attempt:
    return Attempt(event.data["attempt"], event.data["worker"], event.at, event.data.get("claim"))


def _model_failed(log: RunLog, event: Event) -> None:
    for attempt in log.attempts:
        if attempt.number == event.data["attempt"]:
            _close(attempt, event.data)
    _note_fatal(log, event.data, "model_error")


def _close(attempt: Attempt, data: dict[str, Any]) -> None:
    attempt.open = False
    attempt.sent = bool(data.get("sent", True))
    attempt.code = data.get("code")
    if retry_at := data.get("retry_at"):
        attempt.retry_at = datetime.fromisoformat(retry_at)


def _note_fatal(log: RunLog, data: dict[str, Any], code: str) -> None:
    if data.get("fatal"):
        log.fatal = Failure(data.get("fatal_code", code), str(data.get("message") or ""))


def _model_completed(log: RunLog, event: Event) -> None:
    data = event.data
    calls = tuple(Call(c["index"], c["id"], c["name"], c["arguments"]) for c in data["tool_calls"])
    usage = data["usage"]
    log.turns.append(
        Turn(
            data["turn"],
            data["attempt"],
            data["content"],
            calls,
            data["finish_reason"],
            usage["input_tokens"],
            usage["output_tokens"],
        )
    )
    log.attempts = []
    log.messages.append(_assistant_message(data["content"], calls, data["turn"]))


def _assistant_message(content: str, calls: tuple[Call, ...], turn: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": _call_id(turn, c), "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in calls
        ]
    return message


def _call_id(turn: int, call: Call) -> str:
    """Our own: the provider's may repeat or be empty."""
    return f"call_{turn}_{call.index}"


def _tool_started(log: RunLog, event: Event) -> None:
    turn = log.turns[event.data["turn"] - 1]
    attempts = turn.attempts.setdefault(event.data["index"], [])
    attempts.append(_opened(event))


def _tool_failed(log: RunLog, event: Event) -> None:
    turn = log.turns[event.data["turn"] - 1]
    for attempt in turn.attempts.get(event.data["index"], []):
        if attempt.number == event.data["attempt"]:
            _close(attempt, event.data)


def _tool_completed(log: RunLog, event: Event) -> None:
    turn = log.turns[event.data["turn"] - 1]
    index = event.data["index"]
    turn.results[index] = Result(event.data["content"], event.data["is_error"], event.data.get("code"))
    for attempt in turn.attempts.get(index, []):
        attempt.open = False
    _note_fatal(log, event.data, "tool_error")
    if not turn.unanswered:
        log.messages += _tool_messages(turn, turn.results)
        malformed = any(result.code == events.INVALID_ARGUMENTS for result in turn.results.values())
        log.rejections = log.rejections + 1 if malformed else 0


def _tool_messages(turn: Turn, results: dict[int, Result]) -> list[dict[str, Any]]:
    """Results stand in the order of the calls, whatever order they were committed in."""
    return [
        {"role": "tool", "tool_call_id": _call_id(turn.number, call), "content": results[call.index].content}
        for call in turn.calls
    ]


def _output_rejected(log: RunLog, event: Event) -> None:
    log.turns[event.data["turn"] - 1].rejected = True
    log.rejections += 1
    log.messages.append(
        {"role": "user", "content": f"Your answer was not accepted: {event.data['problem']}\nAnswer again, corrected."}
    )


def _artifact_created(log: RunLog, event: Event) -> None:
    log.artifacts.append(event.data)


def _ended(log: RunLog, event: Event) -> None:
    log.end = events.TERMINAL[event.type]


_HANDLERS = {
    events.RUN_QUEUED: _ignored,
    events.RUN_STARTED: _ignored,
    events.RUN_PAUSING: _ignored,
    events.RUN_PAUSED: _ignored,
    events.RUN_RESUMING: _ignored,
    events.RUN_RESUMED: _ignored,
    events.RUN_CANCELLING: _ignored,
    events.MODEL_STARTED: _model_started,
    events.MODEL_FAILED: _model_failed,
    events.MODEL_COMPLETED: _model_completed,
    events.TOOL_STARTED: _tool_started,
    events.TOOL_FAILED: _tool_failed,
    events.TOOL_COMPLETED: _tool_completed,
    events.ARTIFACT_CREATED: _artifact_created,
    events.OUTPUT_REJECTED: _output_rejected,
    events.RUN_COMPLETED: _ended,
    events.RUN_FAILED: _ended,
    events.RUN_CANCELLED: _ended,
}
