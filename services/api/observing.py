"""Around every request: a trace id for its log lines, its metrics, and the answer to what nobody expected."""

from __future__ import annotations

import logging
import time
from secrets import token_hex

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.observability import traceparent
from libs.observability.context import bind, unbind
from libs.observability.metrics import LATENCY_BUCKETS
from libs.observability.tracing import OFF, Tracing
from services.api.problems import answer_unexpected
from services.api.tracing import trace_request

logger = logging.getLogger(__name__)

REQUESTS = Counter("agent_runtime_api_requests_total", "Requests answered", ["method", "route", "status"])
LATENCY = Histogram(
    "agent_runtime_api_request_seconds",
    "From the first byte to the start of the answer",
    ["method", "route"],
    buckets=LATENCY_BUCKETS,
)
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"})


class Observing:
    """ASGI middleware; it stands outside of everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, started_at = time.perf_counter(), time.time_ns()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if allowance := scope.get("allowance"):
                    message = {**message, "headers": [*message.get("headers", ()), *allowance.headers()]}
                _count(scope, status, time.perf_counter() - started)
                if tracing := _tracing(scope):
                    trace_request(tracing, scope, message, started_at)
            await send(message)

        token = bind(trace_id=_trace_id(scope["headers"]))
        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if status:
                logger.error("an answer broke off", exc_info=error)
                raise
            await answer_unexpected(error)(scope, receive, noting)
        finally:
            unbind(token)


def _count(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")
    method = scope["method"] if scope["method"] in _METHODS else "other"
    REQUESTS.labels(method, route, str(status)).inc()
    LATENCY.labels(method, route).observe(seconds)


def _trace_id(headers: list[tuple[bytes, bytes]]) -> str:
    parent = traceparent.read(headers)
    return parent.trace_id if parent else token_hex(16)


def _tracing(scope: Scope) -> Tracing | None:
    """None where nothing is traced, and before the program has started."""
    services = scope.get("state", {}).get("services")
    tracing: Tracing = services.tracing if services else OFF
    return None if tracing is OFF else tracing
