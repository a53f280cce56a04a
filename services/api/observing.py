"""Around every request: a trace id for its log lines, its metrics, and the answer to what nobody expected."""

from __future__ import annotations

import logging
import re
import time
from secrets import token_hex

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.observability.context import bind, unbind
from libs.observability.metrics import LATENCY_BUCKETS
from services.api.problems import answer_unexpected

logger = logging.getLogger(__name__)

REQUESTS = Counter("agent_runtime_api_requests_total", "Requests answered", ["method", "route", "status"])
LATENCY = Histogram(
    "agent_runtime_api_request_seconds",
    "From the first byte to the start of the answer",
    ["method", "route"],
    buckets=LATENCY_BUCKETS,
)
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"})


class Observing:
    """ASGI middleware; it stands outside of everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if allowance := scope.get("allowance"):
                    message = {**message, "headers": [*message.get("headers", ()), *allowance.headers()]}
                _count(scope, status, time.perf_counter() - started)
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
    for name, value in headers:
        if name == b"traceparent" and (match := _TRACEPARENT.fullmatch(value)):
            return match[1].decode()
    return token_hex(16)
