"""A run's log as spans: each event that ends something gives its span, the same whenever the log is read.

Agent, model calls below it, tool calls below the answer that asked for them; every attempt is a span of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.domain import events
from libs.domain.texts import dump
from libs.domain.traces import ROOT, Span, Value
from services.worker.exporting.content import Content, Conversation, assistant

DEBUG, WARNING, ERROR = "DEBUG", "WARNING", "ERROR"
HARMLESS = frozenset({events.HANDED_BACK, events.STOPPED})
LOST = ("worker_lost", "")


@dataclass(frozen=True)
class Shown:
    """An event with its large values as they are shown, by name."""

    seq: int
    type: str
    data: dict[str, Any]
    at: datetime
    version: int = 1
    large: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """What is said of a run beside its log."""

    run_id: UUID
    tenant: str
    agent: str
    version: int
    user: str
    labels: Mapping[str, str]
    environment: str
    created_at: datetime
    input: str  # as it is shown
    instructions: str  # as they are shown
    provider: str
    model: str
    parameters: Mapping[str, Any]
    prompt: tuple[str, int] | None  # name and version

    @property
    def of_trace(self) -> dict[str, Value]:
        """What every span says, so that each can be found by it."""
        tags = [f"tenant:{self.tenant}", f"agent:{self.agent}", f"version:{self.version}"]
        tags += [f"{name}:{value}" for name, value in sorted(self.labels.items())]
        return {
            "user.id": self.user,
            "session.id": str(self.run_id),
            "langfuse.environment": self.environment,
            "langfuse.trace.name": self.agent,
            "langfuse.trace.tags": tuple(tag[:200] for tag in tags),
        }


@dataclass
class _Open:
    """An attempt that has begun. One whose worker was given up may end twice: its worker may be frozen, not dead."""

    at: datetime
    data: dict[str, Any]
    given_up: Shown | None = None


@dataclass
class _Turn:
    """The last answer, and what became of its calls."""

    number: int
    attempt: int
    calls: dict[int, dict[str, Any]]
    results: dict[int, str] = field(default_factory=dict)


class Fold:
    """Takes events in their order; knows no more than what later spans need."""

    def __init__(self, about: About, content: Content) -> None:
        self.about = about
        self.seq = 0
        self.over = False  # the run
        self.content = content
        self._conversation = Conversation(content.limit)
        opening = [{"role": "user", "content": about.input}]
        if about.instructions:
            opening.insert(0, {"role": "system", "content": about.instructions})
        self._conversation.open(*opening)
        self._models: dict[tuple[int, int], _Open] = {}
        self._tools: dict[tuple[int, int, int], _Open] = {}
        self._turn: _Turn | None = None

    def root(self) -> Span:
        """The run as it began."""
        return self._root(self.about.created_at, {"langfuse.observation.metadata.status": "running"}, False)

    def take(self, event: Shown) -> list[Span]:
        """The spans that this event ends.

        Raises:
            UnknownEvent: it is newer than this code; a newer worker is to take the run.
        """
        if event.version > events.LOG_VERSION:
            raise events.UnknownEvent(f"{event.type} version {event.version}")
        handler = _HANDLERS.get(event.type)
        self.seq, self.over = event.seq, event.type in events.TERMINAL
        return handler(self, event) if handler else []

    # -- model calls -----------------------------------------------------------------------------------------------

    def model_started(self, event: Shown) -> list[Span]:
        self._models[event.data["turn"], event.data["attempt"]] = _Open(event.at, event.data)
        return []

    def model_failed(self, event: Shown) -> list[Span]:
        if _given_up(self._models.get((event.data["turn"], event.data["attempt"])), event):
            return []
        return self._model_ended(event, self._failure(event.data), str(event.data.get("code")))

    def model_completed(self, event: Shown) -> list[Span]:
        data = event.data
        calls = [self._shown_call(data["turn"], call) for call in data["tool_calls"]]
        message = assistant(self._value(event, "content"), calls)
        output = dump(message) if calls else str(message["content"])
        more: dict[str, Value] = {
            "langfuse.observation.output": self._bounded(output),
            "langfuse.observation.metadata.finish_reason": str(data["finish_reason"]),
            "gen_ai.response.finish_reasons": (str(data["finish_reason"]),),
        }
        spans = self._model_ended(event, more)
        spans += self._lost_generations(event.at)
        self._conversation.add(message)
        self._turn = _Turn(data["turn"], data["attempt"], {call["index"]: call for call in data["tool_calls"]})
        return spans

    def _lost_generations(self, at: datetime) -> list[Span]:
        """Those that nobody will end any more."""
        return [self._generation(*key, *self._lost(opened, at)) for key, opened in list(self._models.items())]

    def _lost(self, opened: _Open, at: datetime) -> tuple[datetime, dict[str, Value]]:
        """When and how: as it was told when its worker was given up, or now."""
        if opened.given_up is None:
            return at, self._failed(*LOST)
        return opened.given_up.at, self._failure(opened.given_up.data)

    def _model_ended(self, event: Shown, more: dict[str, Value], code: str | None = None) -> list[Span]:
        key = event.data["turn"], event.data["attempt"]
        if key not in self._models:
            return []
        return [self._generation(*key, event.at, more, failed=code is not None and code not in HARMLESS)]

    def _generation(
        self, turn: int, attempt: int, at: datetime, more: dict[str, Value], *, failed: bool = True
    ) -> Span:
        opened = self._models.pop((turn, attempt))
        model, provider = str(opened.data["model"]), str(opened.data["provider"])
        attributes: dict[str, Value] = {
            **self.about.of_trace,
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": model,
            "langfuse.observation.model.parameters": dump(dict(self.about.parameters)),
            "langfuse.observation.input": self._conversation.shown(),
            "langfuse.observation.metadata.turn": turn,
            "langfuse.observation.metadata.attempt": attempt,
            "langfuse.observation.metadata.worker": str(opened.data["worker"]),
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            **self._prompt,
            **more,
        }
        of = events.model_opened(turn, attempt)
        return self._span(of, model, opened.at, at, ROOT, failed, attributes, call=(turn, attempt))

    @property
    def _prompt(self) -> dict[str, Value]:
        if self.about.prompt is None:
            return {}
        name, version = self.about.prompt
        return {"langfuse.observation.prompt.name": name, "langfuse.observation.prompt.version": version}

    # -- tool calls ------------------------------------------------------------------------------------------------

    def tool_started(self, event: Shown) -> list[Span]:
        key = event.data["turn"], event.data["index"], event.data["attempt"]
        self._tools[key] = _Open(event.at, event.data)
        return []

    def tool_failed(self, event: Shown) -> list[Span]:
        key = event.data["turn"], event.data["index"], event.data["attempt"]
        if key not in self._tools or _given_up(self._tools[key], event):
            return []
        harmless = event.data.get("code") in HARMLESS
        return [self._tool(*key, event.at, self._failure(event.data), failed=not harmless)]

    def tool_completed(self, event: Shown) -> list[Span]:
        data = event.data
        turn, index, attempt = data["turn"], data["index"], data["attempt"]
        result = self._value(event, "content")
        more: dict[str, Value] = {"langfuse.observation.output": result}
        if data["is_error"]:
            more |= {"langfuse.observation.level": WARNING, "langfuse.observation.status_message": _code(data)}
        spans: list[Span] = []
        if not attempt:  # it was refused before it could be made
            self._tools[turn, index, attempt] = _Open(event.at, data)
        if (turn, index, attempt) in self._tools:
            spans.append(self._tool(turn, index, attempt, event.at, more, failed=data["is_error"]))
        spans += self._lost_tools(event.at, {key for key in self._tools if key[:2] == (turn, index)})
        self._note_result(turn, index, result)
        return spans

    def _lost_tools(self, at: datetime, keys: Collection[tuple[int, int, int]]) -> list[Span]:
        return [self._tool(*key, *self._lost(opened, at)) for key, opened in list(self._tools.items()) if key in keys]

    def _note_result(self, turn: int, index: int, result: str) -> None:
        """Results stand in the order of the calls, once all are there."""
        current = self._turn
        if current is None or current.number != turn:
            return
        current.results[index] = result
        if len(current.results) == len(current.calls):
            ordered = [(number, current.results[number]) for number in current.calls]
            self._conversation.add(
                *(
                    {"role": "tool", "tool_call_id": f"call_{turn}_{number}", "content": text}
                    for number, text in ordered
                )
            )

    def _tool(
        self, turn: int, index: int, attempt: int, at: datetime, more: dict[str, Value], *, failed: bool = True
    ) -> Span:
        opened = self._tools.pop((turn, index, attempt))
        call = self._turn.calls.get(index, {}) if self._turn and self._turn.number == turn else {}
        name = str(opened.data["name"])
        attributes: dict[str, Value] = {
            **self.about.of_trace,
            "langfuse.observation.type": "tool",
            "langfuse.observation.input": self.content.text(str(call.get("arguments", ""))),
            "langfuse.observation.metadata.turn": turn,
            "langfuse.observation.metadata.attempt": attempt,
            "langfuse.observation.metadata.worker": str(opened.data["worker"]),
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": f"call_{turn}_{index}",
            **({"langfuse.observation.metadata.effect": str(opened.data["effect"])} if "effect" in opened.data else {}),
            **more,
        }
        parent = events.model_opened(turn, self._turn.attempt) if self._turn else ROOT
        return self._span(events.tool_opened(turn, index, attempt), name, opened.at, at, parent, failed, attributes)

    def _shown_call(self, turn: int, call: dict[str, Any]) -> dict[str, Any]:
        function = {"name": call["name"], "arguments": self.content.text(call["arguments"])}
        return {"id": f"call_{turn}_{call['index']}", "type": "function", "function": function}

    def output_rejected(self, event: Shown) -> list[Span]:
        problem = self.content.text(str(event.data["problem"]))
        self._conversation.add({"role": "user", "content": f"Your answer was not accepted: {problem}"})
        return []

    # -- the end ---------------------------------------------------------------------------------------------------

    def ended(self, event: Shown) -> list[Span]:
        spans = [*self._lost_generations(event.at), *self._lost_tools(event.at, self._tools)]
        status = events.TERMINAL[event.type]
        more: dict[str, Value] = {"langfuse.observation.metadata.status": status}
        if event.type == events.RUN_COMPLETED:
            output = event.data["output"]
            text = output if isinstance(output, str) else dump(output)
            more["langfuse.observation.output"] = event.large.get("output") or self.content.text(text)
        elif event.type == events.RUN_FAILED:
            more |= self._failed(str(event.data.get("code")), str(event.data.get("message") or ""), ERROR)
        else:
            more |= {"langfuse.observation.level": WARNING, "langfuse.observation.status_message": "cancelled"}
        return [*spans, self._root(event.at, more, event.type == events.RUN_FAILED)]

    def _root(self, ended_at: datetime, more: dict[str, Value], failed: bool) -> Span:
        attributes: dict[str, Value] = {
            **self.about.of_trace,
            "langfuse.observation.type": "agent",
            "langfuse.observation.input": self.about.input,
            "langfuse.trace.metadata.run_id": str(self.about.run_id),
            "langfuse.trace.metadata.tenant": self.about.tenant,
            "langfuse.trace.metadata.agent": self.about.agent,
            "langfuse.trace.metadata.version": self.about.version,
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": self.about.agent,
            "gen_ai.conversation.id": str(self.about.run_id),
            **{f"langfuse.trace.metadata.label.{name}": value for name, value in self.about.labels.items()},
            **more,
        }
        return self._span(ROOT, self.about.agent, self.about.created_at, ended_at, None, failed, attributes)

    # -- what they have in common ----------------------------------------------------------------------------------

    def _span(
        self,
        of: str,
        name: str,
        started_at: datetime,
        ended_at: datetime,
        parent: str | None,
        failed: bool,
        attributes: dict[str, Value],
        call: tuple[int, int] | None = None,
    ) -> Span:
        ended = max(started_at, ended_at)
        return Span(self.about.run_id, of, name, started_at, ended, parent, failed, attributes, call)

    def _failure(self, data: dict[str, Any]) -> dict[str, Value]:
        """Why an attempt ended without a result; what the platform ended itself is no fault of anybody."""
        code = str(data.get("code"))
        level = DEBUG if code in HARMLESS else ERROR if data.get("fatal") else WARNING
        return self._failed(code, str(data.get("message") or ""), level)

    def _failed(self, code: str, message: str, level: str = WARNING) -> dict[str, Value]:
        return {
            "langfuse.observation.level": level,
            "langfuse.observation.status_message": self.content.reason(code, message),
            "error.type": code,
        }

    def _value(self, event: Shown, name: str) -> str:
        return event.large.get(name) or self.content.text(str(event.data[name]))

    def _bounded(self, text: str) -> str:
        return Content("nothing", self.content.limit).text(text)


def _given_up(opened: _Open | None, event: Shown) -> bool:
    """Whether this says only that somebody took over: what was sent may still be answered."""
    if opened is None or event.data.get("code") != events.WORKER_LOST:
        return False
    opened.given_up = event
    return True


def _code(data: dict[str, Any]) -> str:
    return str(data.get("code") or "error")


def read_labels(text: str) -> dict[str, str]:
    return {str(name): str(value) for name, value in json.loads(text).items()}


_HANDLERS: dict[str, Callable[[Fold, Shown], list[Span]]] = {
    events.MODEL_STARTED: Fold.model_started,
    events.MODEL_FAILED: Fold.model_failed,
    events.MODEL_COMPLETED: Fold.model_completed,
    events.TOOL_STARTED: Fold.tool_started,
    events.TOOL_FAILED: Fold.tool_failed,
    events.TOOL_COMPLETED: Fold.tool_completed,
    events.OUTPUT_REJECTED: Fold.output_rejected,
    events.RUN_COMPLETED: Fold.ended,
    events.RUN_FAILED: Fold.ended,
    events.RUN_CANCELLED: Fold.ended,
}
