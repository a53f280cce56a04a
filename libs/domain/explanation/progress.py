"""The turn in progress, folded from the last events of a log: the attempts at the model and at the calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from libs.domain import events
from libs.domain.events import Event
from libs.domain.retries import backoff


@dataclass
class Try:
    """One attempt. `name` is the model's or the tool's."""

    turn: int
    index: int | None
    number: int
    name: str
    worker: str
    at: datetime
    ended_at: datetime | None = None
    code: str | None = None
    message: str = ""
    retry_at: datetime | None = None

    @property
    def open(self) -> bool:
        return self.ended_at is None

    @property
    def failed(self) -> bool:
        """Whether it failed by the other side's fault, and so waits before it is tried again."""
        return self.code is not None and self.code not in events.NOT_THE_PROVIDERS


@dataclass
class Progress:
    """Attempts at the coming model call, and at the calls of the last turn that have no result yet."""

    turn: int = 0  # the last that was answered
    model: list[Try] = field(default_factory=list)
    calls: dict[int, str] = field(default_factory=dict)  # name by index, of those without a result
    tools: dict[int, list[Try]] = field(default_factory=dict)
    last_at: datetime | None = None

    @property
    def open_model(self) -> Try | None:
        return self.model[-1] if self.model and self.model[-1].open else None

    @property
    def open_tools(self) -> list[Try]:
        return [tries[-1] for index, tries in self.tools.items() if index in self.calls and tries and tries[-1].open]

    @property
    def failed_model(self) -> Try | None:
        return self.model[-1] if self.model and self.model[-1].failed else None

    @property
    def failed_tools(self) -> list[Try]:
        return [tries[-1] for index, tries in self.tools.items() if index in self.calls and tries and tries[-1].failed]

    @property
    def model_retry_at(self) -> datetime | None:
        """When a failed model call is tried again: as the provider said, else after the usual pause."""
        failed = self.failed_model
        if failed is None or failed.ended_at is None:
            return None
        tries = sum(1 for each in self.model if each.failed)
        return failed.retry_at or failed.ended_at + timedelta(seconds=backoff(tries))

    @property
    def losses(self) -> int:
        """How many attempts in a row, up to the last, lost their worker."""
        tries = self.model or max(self.tools.values(), key=lambda each: each[-1].at, default=[])
        count = 0
        for each in reversed([each for each in tries if not each.open]):
            if each.code != events.WORKER_LOST:
                break
            count += 1
        return count


def progress(recent: Iterable[Event]) -> Progress:
    """Fold events in order; what is not about attempts only moves `last_at`."""
    found = Progress()
    for event in recent:
        found.last_at = event.at
        _HANDLERS.get(event.type, _passed)(found, event)
    return found


def _passed(found: Progress, event: Event) -> None:
    """Without consequence for what is in progress."""


def _answered(found: Progress, event: Event) -> None:
    found.turn = int(event.data["turn"])
    found.model = []
    found.tools = {}
    found.calls = {int(call["index"]): str(call["name"]) for call in event.data.get("tool_calls") or ()}


def _model_started(found: Progress, event: Event) -> None:
    found.model.append(_try(event, f"{event.data.get('provider', '')}/{event.data.get('model', '')}"))


def _tool_started(found: Progress, event: Event) -> None:
    index = int(event.data["index"])
    found.tools.setdefault(index, []).append(_try(event, str(event.data.get("name") or found.calls.get(index, ""))))


def _try(event: Event, name: str) -> Try:
    data = event.data
    return Try(data["turn"], data.get("index"), data["attempt"], name, str(data.get("worker", "")), event.at)


def _model_failed(found: Progress, event: Event) -> None:
    _close(found.model, event)


def _tool_failed(found: Progress, event: Event) -> None:
    _close(found.tools.get(int(event.data["index"]), []), event)


def _close(tries: list[Try], event: Event) -> None:
    data: dict[str, Any] = event.data
    for each in tries:
        if each.number == data["attempt"]:
            each.ended_at, each.code, each.message = event.at, str(data.get("code")), str(data.get("message") or "")
            each.retry_at = datetime.fromisoformat(data["retry_at"]) if data.get("retry_at") else None


def _tool_completed(found: Progress, event: Event) -> None:
    found.calls.pop(int(event.data["index"]), None)


_HANDLERS = {
    events.MODEL_STARTED: _model_started,
    events.MODEL_FAILED: _model_failed,
    events.MODEL_COMPLETED: _answered,
    events.TOOL_STARTED: _tool_started,
    events.TOOL_FAILED: _tool_failed,
    events.TOOL_COMPLETED: _tool_completed,
}
