"""Around the steps of a run: how long each took and how it ended, as metrics and as spans of the run's trace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from libs.clients.openai import ModelAnswer, ModelFailed
from libs.observability.tracing import OFF, START, EndedSpan, Kind, Tracing, Value
from services.worker.metering import MODEL_CALLS_NOW, STEPS, STEPS_NOW, Meter
from services.worker.trying import TryAgain

OK, ERROR, CANCELLED, FAILED, AGAIN = "ok", "error", "cancelled", "failed", "again"


class Place(NamedTuple):
    """An attempt at a model call, or with a `call` at a tool call; `claim` names the step that makes it."""

    run_id: UUID
    claim: str
    turn: int
    attempt: int
    call: int | None = None  # its index

    @property
    def of(self) -> str:
        if self.call is None:
            return f"m{self.turn}.{self.attempt}"
        return f"t{self.turn}.{self.call}.{self.attempt}"


@dataclass
class Observed:
    """What is known of a piece of work when it ends; whoever does it sets `result`."""

    result: str = ""
    headers: dict[str, str] = field(default_factory=dict)  # for whoever is called


class Observer:
    """Of one process."""

    def __init__(self, meter: Meter, tracing: Tracing = OFF) -> None:
        self._meter = meter
        self._tracing = tracing

    @contextmanager
    def step(self, name: str, run_id: UUID, claim: str) -> Iterator[Observed]:
        """One activity. Its `result` is one of a few words."""
        observed, began, started = Observed(), time.monotonic(), time.time_ns()
        in_progress = STEPS_NOW.labels(name)
        in_progress.inc()
        try:
            yield observed
        except (asyncio.CancelledError, TryAgain) as error:
            observed.result = AGAIN if isinstance(error, TryAgain) else CANCELLED
            raise
        except BaseException:
            observed.result = FAILED
            raise
        finally:
            in_progress.dec()
            STEPS.labels(name, observed.result).observe(time.monotonic() - began)
            attributes = {"messaging.system": "temporal", "agent_runtime.step.result": observed.result}
            error_type = FAILED if observed.result == FAILED else ""
            self._span(run_id, claim, START, name, "consumer", started, attributes, error_type)

    @contextmanager
    def model_call(self, place: Place, provider: str, model: str, answer: ModelAnswer) -> Iterator[None]:
        """One request to a provider; what was never sent has no duration."""
        began, started, error, sent = time.monotonic(), time.time_ns(), "", True
        MODEL_CALLS_NOW.inc()
        try:
            yield
        except asyncio.CancelledError:
            error = CANCELLED
            raise
        except Exception as failed:
            error = str(getattr(failed, "code", FAILED))
            sent = not isinstance(failed, ModelFailed) or failed.sent
            raise
        finally:
            MODEL_CALLS_NOW.dec()
            if sent:
                to_first = None if answer.first_at is None else answer.first_at - began
                self._meter.asked(provider, model, time.monotonic() - began, to_first, error)
            attributes = _of_model(place, provider, model, answer)
            self._span(place.run_id, place.of, place.claim, f"chat {model}", "client", started, attributes, error)

    @contextmanager
    def tool_call(self, place: Place, name: str, tool: object, effect: str) -> Iterator[Observed]:
        """One attempt at a call; `headers` tell the tool whose call it is."""
        observed = Observed(CANCELLED, self._tracing.headers(place.run_id, place.of))
        began, started, kind = time.monotonic(), time.time_ns(), str(getattr(tool, "kind", "own"))
        try:
            yield observed
        except Exception:  # a fault of the tool's own code: what it meets is a result
            observed.result = FAILED
            raise
        finally:
            error = "" if observed.result == OK else observed.result
            self._meter.called(kind, effect, time.monotonic() - began, error)
            attributes: dict[str, Value] = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function",
                "agent_runtime.tool.kind": kind,
                "agent_runtime.tool.effect": effect,
                **_where(place),
            }
            self._span(
                place.run_id, place.of, place.claim, f"execute_tool {name}", "client", started, attributes, error
            )

    def _span(
        self, run_id: UUID, of: str, parent: str, name: str, kind: Kind, started: int,
        attributes: Mapping[str, Value], error: str,
    ) -> None:  # fmt: skip
        if self._tracing.traces(run_id):
            span = EndedSpan(run_id, of, name, kind, started, time.time_ns(), parent, attributes, error)
            self._tracing.add(span)


def _where(place: Place) -> dict[str, Value]:
    return {"agent_runtime.turn": place.turn, "agent_runtime.attempt": place.attempt}


def _of_model(place: Place, provider: str, model: str, answer: ModelAnswer) -> dict[str, Value]:
    """No content: neither what was asked nor what was answered."""
    told: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        **_where(place),
    }
    if answer.usage is not None:
        told |= {
            "gen_ai.usage.input_tokens": answer.usage.input_tokens,
            "gen_ai.usage.output_tokens": answer.usage.output_tokens,
        }
    return told
