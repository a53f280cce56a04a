"""Traces of the platform itself: what is traced of a run, and the ids that follow from the run alone.

The trace is the run, so that nothing has to travel with it: whoever works on a run knows the ids of the spans that
others made. Nothing of OpenTelemetry is loaded here, see `otlp_tracing`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from libs.observability.traceparent import HEADER, TraceParent
from libs.settings.tracing import TracingSettings

Kind = Literal["server", "producer", "consumer", "client"]
Value = str | int | float | bool
ACCEPT, START = "accept", "start"  # spans that there is one of, in every run


def span_id(run_id: UUID, of: str) -> str:
    """Sixteen hex digits for one thing of a run. Not those of its projections, which may go to the same receiver."""
    return hashlib.sha256(f"platform/{run_id.hex}/{of}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class EndedSpan:
    """Something that was done for a run; `of` and `parent` say what, times are nanoseconds since 1970."""

    run_id: UUID
    of: str
    name: str
    kind: Kind
    started: int
    ended: int
    parent: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str = ""
    link: TraceParent | None = None


class Tracing:
    """Off: no run is traced."""

    def traces(self, run_id: UUID) -> bool:
        """Whether this run is traced; the same answer in every process."""
        return False

    def add(self, span: EndedSpan) -> None:
        """Take a span of a run that is traced; never waits, never fails."""

    def headers(self, run_id: UUID, of: str) -> dict[str, str]:
        """What a tool is sent, so that its own spans can stand below this one."""
        return {HEADER: str(TraceParent(run_id.hex, span_id(run_id, of)))} if self.traces(run_id) else {}

    async def close(self) -> None:
        """Send what is left, for a moment at the most."""

    @contextmanager
    def starting(self, run_id: str) -> Iterator[None]:
        """Around the start of a run's workflow, by whoever starts it."""
        run = UUID(run_id)
        if not self.traces(run):
            yield
            return
        started, error = time.time_ns(), ""
        try:
            yield
        except Exception as failed:
            error = type(failed).__name__
            raise
        finally:
            # One that failed is not the one that started it: the next attempt has the place in the trace.
            of = f"{START}/{started}" if error else START
            name, destination = "start agent-run", {"messaging.system": "temporal"}
            self.add(EndedSpan(run, of, name, "producer", started, time.time_ns(), ACCEPT, destination, error))


OFF = Tracing()


def open_tracing(settings: TracingSettings, service: str, instance: str = "") -> Tracing:
    """Tracing as it is configured. Call it after a fork, not before: it has a thread."""
    if settings.traces_endpoint is None:
        return OFF
    from libs.observability.otlp_tracing import OtlpTracing  # noqa: PLC0415 - what is off is not loaded

    return OtlpTracing(settings, service, instance)
