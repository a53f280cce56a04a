"""What stands in for the world outside of the platform: a service that counts what it receives."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.demo import serving

METHODS = ["GET", "POST", "PUT", "DELETE"]


@dataclass(frozen=True)
class Received:
    """One request, as soon as it has arrived."""

    path: str
    method: str
    key: str | None  # the header Idempotency-Key
    body: bytes
    authorization: str | None
    traceparent: str | None = None
    baggage: str | None = None
    at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Plan:
    """How a path is answered."""

    status: int = 200
    body: str = '{"ok": true}'
    delay: float = 0.0  # seconds
    headers: tuple[tuple[str, str], ...] = ()


class ToolService:
    """Counts *requests received*, not distinct keys, and honours no key."""

    def __init__(self) -> None:
        self._received: list[Received] = []
        self.plans: dict[str, Plan] = {}
        self.app = Starlette(routes=[Route("/{path:path}", self._take, methods=METHODS)])

    @property
    def received(self) -> list[Received]:
        return self._received

    async def _take(self, request: Request) -> Response:
        path = request.url.path
        body = await request.body()
        key, authorization = request.headers.get("idempotency-key"), request.headers.get("authorization")
        traced, baggage = request.headers.get("traceparent"), request.headers.get("baggage")
        self._received.append(Received(path, request.method, key, body, authorization, traced, baggage))
        plan = self.plans.get(path, Plan())
        if plan.delay:
            await asyncio.sleep(plan.delay)
        return Response(plan.body, plan.status, headers=dict(plan.headers), media_type="application/json")

    def slow(self, path: str, seconds: float) -> None:
        """Answer so much later."""
        self.plans[path] = Plan(delay=seconds)

    def fail(self, path: str, status: int) -> None:
        """Answer with this status."""
        self.plans[path] = Plan(status=status, body='{"error": "as planned"}')

    def count(self, path: str) -> int:
        return sum(1 for request in self.received if request.path == path)

    def keys(self, path: str) -> Counter[str | None]:
        return Counter(request.key for request in self.received if request.path == path)


@contextmanager
def tool_service() -> Iterator[tuple[ToolService, str]]:
    """The service and its URL."""
    service = ToolService()
    with serving.serving(service.app) as url:
        yield service, url
