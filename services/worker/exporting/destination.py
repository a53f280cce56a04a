"""One project that traces are sent to: who uses it, and whether it can be reached."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import prometheus_client as metrics

from libs.clients.otlp import Away, OtlpReceiver, Outcome, Refused
from libs.database.projections import Scope
from libs.domain.traces import Span, Value
from libs.settings.traces import Destination, TracesSettings

FIRST_PAUSE = 1.0  # seconds, while a project is away; then longer each time
REQUESTS = metrics.Counter(
    "agent_runtime_traces_requests_total", "Requests to a project of traces", ["project", "outcome"]
)
SPANS = metrics.Counter("agent_runtime_traces_spans_total", "Spans that a project took", ["project"])


class Receiver:
    """A project as this worker sees it. While it is away, one request at a time looks whether it is back."""

    def __init__(self, destination: Destination, settings: TracesSettings) -> None:
        self.name = destination.name
        self.project = destination.project
        self.scope: Scope | None = None  # the tenants that use it; None: not known yet
        self._resource: dict[str, Value] = {
            "service.name": "agent-runtime",
            "deployment.environment.name": destination.project.environment,
        }
        self._concurrency = settings.traces_concurrency
        self._longest_pause = settings.traces_retry_seconds
        self._client = OtlpReceiver(
            destination.project.endpoint,
            destination.headers,
            settings.traces_timeout_seconds,
            settings.traces_concurrency,
            settings.traces_ca_file,
        )
        self._failures = 0
        self._open_at = float("-inf")

    @property
    def shows_early(self) -> bool:
        """Whether it takes a span that has not ended, and once more when it has."""
        return self.project.kind == "langfuse"

    @property
    def room(self) -> int:
        """How many runs may be sent to it now."""
        if time.monotonic() < self._open_at:
            return 0
        return 1 if self._failures else self._concurrency

    async def send(self, spans: Sequence[Span]) -> Outcome:
        outcome = await self._client.send(self._resource, spans)
        REQUESTS.labels(self.name, type(outcome).__name__.lower()).inc()
        if isinstance(outcome, Away):
            self._failures += 1
            pause = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 10), self._longest_pause)
            said = outcome.after or 0.0
            self._open_at = time.monotonic() + max(pause * random.uniform(0.7, 1.0), said)  # noqa: S311 - no secret
            return outcome
        self._failures = 0
        if not isinstance(outcome, Refused):
            SPANS.labels(self.name).inc(len(spans))
        return outcome

    async def close(self) -> None:
        await self._client.close()
