"""A small gateway for tests: reads the rendered kong.yml and does what it says; the decisions are the plugins' Lua.

It stands in where no Kong can be installed, so that the suite beside it is run at every change. It shows that routes,
plugins and their settings say what is wanted; it shows nothing of Kong's own code. Never an alternative to Kong.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route as Path

from tests.conformance.gateway.decisions import ANSWERS, VERDICT, Decisions
from tests.conformance.gateway.tokens import Refused, TokenCheck
from tests.fixtures.kong.router import Route, Router

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
UNITS = {"kilobytes": 1024, "megabytes": 1024 * 1024}
# start.sh: client_max_body_size, more_clear_input_headers, underscores_in_headers off.
LARGEST = 33 * 1024 * 1024
CLEARED = frozenset({"x-forwarded-for", "forwarded", "x-request-id"})
HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"})


class Gateway:
    """The application of one configuration."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._router = Router(config)
        self._counts: dict[tuple[str, int], int] = {}
        self._decisions = Decisions()
        names = self._decisions.ask(VERDICT, "IDENTITY_HEADERS")[0]
        # Kong believes X-Forwarded-* of trusted addresses only, of which there are none.
        self._cleared = CLEARED | {name.lower() for name in names}
        self.app = Starlette(routes=[Path("/{path:path}", self._answer, methods=METHODS)], lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(trust_env=False) as self._client:
            self._tokens = TokenCheck(self._decisions, self._client)
            yield

    def close(self) -> None:
        self._decisions.close()

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        taken = self._router.take(request.method, request.headers.get("host", ""), path)
        if taken is None:
            return Response(status_code=404)
        route, limits = taken.route, dict[str, str]()
        request.state.request_id = str(uuid4())
        try:
            response = await self._through(request, route, limits)
        except Refused as refused:
            response = Response(json.dumps(refused.body), refused.status, refused.headers)
        own = not hasattr(response, "of_service")
        self._finish(request, route, response, limits, own=own)
        return response

    async def _through(self, request: Request, route: Route, limits: dict[str, str]) -> Response:
        """The plugins in the order of Kong's priorities, then the upstream."""
        if (cors := route.plugins.get("cors")) and _is_preflight(request):
            return _preflight(cors)
        if len(request.headers.getlist("authorization")) > 1:
            raise Refused(400, {}, {})
        headers = _forwarded(request, self._cleared)
        counts_as = request.client.host if request.client else ""
        if config := route.plugins.get("keycloak-jwt"):
            who = await self._tokens.identify(config, request.headers.getlist("authorization"))
            headers += [(name, who[key]) for name, key in _IDENTITY.items() if who.get(key) is not None]
            counts_as = who["counts_as"]
        body = await _measured(request, route.plugins.get("request-size-limiting"))
        if config := route.plugins.get("rate-limiting"):
            self._count(route, counts_as, config, limits)
        if config := route.plugins.get("request-termination"):
            raise Refused(config["status_code"], {}, {})
        return await self._upstream(request, route, headers, body)

    def _count(self, route: Route, counts_as: str, config: dict[str, Any], limits: dict[str, str]) -> None:
        now = int(time.time())
        key = (f"{route.service and route.service['name']} {counts_as}", now // 60)
        used = self._counts.get(key, 0)
        limit, reset = config["minute"], str(60 - now % 60)
        allowed = used < limit
        remaining = str(max(0, limit - used - 1))
        limits |= {"RateLimit-Limit": str(limit), "RateLimit-Remaining": remaining, "RateLimit-Reset": reset}
        limits |= {"X-RateLimit-Limit-Minute": str(limit), "X-RateLimit-Remaining-Minute": remaining}
        if not allowed:
            limits["Retry-After"] = reset
            raise Refused(429, {}, {})
        self._counts[key] = used + 1

    async def _upstream(
        self, request: Request, route: Route, headers: list[tuple[str, str]], body: bytes | None
    ) -> Response:
        service = route.service or {}
        raw = request.scope["raw_path"] + (
            b"?" + request.scope["query_string"] if request.scope["query_string"] else b""
        )
        url = httpx.URL(service["url"]).copy_with(raw_path=raw)
        seconds = {name: service[f"{name}_timeout"] / 1000 for name in ("connect", "read", "write")}
        timeout = httpx.Timeout(**seconds, pool=2)
        try:
            sent = self._client.build_request(request.method, url, headers=headers, content=body, timeout=timeout)
            answer = await self._client.send(sent, stream=True)
        except httpx.ReadTimeout:
            raise Refused(504, {}, {}) from None
        except httpx.TransportError:
            raise Refused(502, {}, {}) from None
        response = StreamingResponse(_body_of(answer), answer.status_code)
        response.raw_headers = [pair for pair in answer.headers.raw if pair[0].decode().lower() not in HOP]
        response.of_service = dict(answer.headers)  # type: ignore[attr-defined]  # marks whose answer it is
        return response

    def _finish(self, request: Request, route: Route, response: Response, limits: dict[str, str], *, own: bool) -> None:
        source = "exit" if own else "service"
        for name, value in limits.items():
            response.headers[name] = value if own or name not in response.headers else response.headers[name]
        if own:
            status, kind = response.status_code, response.headers.get("content-type")
            problem = self._decisions.ask(ANSWERS, "replacement", status, source, kind)[0]
            if problem is not None:
                response.body = b"" if request.method == "HEAD" else json.dumps(problem).encode()
                response.headers["content-length"] = str(len(response.body))
                response.headers["content-type"] = "application/problem+json"
        for line in route.plugins.get("response-transformer", {}).get("add", {}).get("headers", []):
            name, _, value = line.partition(": ")
            response.headers.setdefault(name, value)
        if cors := route.plugins.get("cors"):
            _allow_origin(request, response, cors)
        response.headers["X-Request-ID"] = request.state.request_id


_IDENTITY = {"X-Tenant-Id": "tenant", "X-User-Id": "subject", "X-User-Roles": "roles", "X-Auth-Client": "client"}


def _forwarded(request: Request, cleared: frozenset[str]) -> list[tuple[str, str]]:
    """The client's headers without those that it must not choose."""
    kept = [
        (name, value)
        for name, value in request.headers.items()
        if name not in HOP | cleared and "_" not in name and not name.startswith("x-forwarded-")
    ]
    address = request.client.host if request.client else ""
    return [*kept, ("X-Forwarded-For", address), ("X-Request-ID", request.state.request_id)]


async def _measured(request: Request, config: dict[str, Any] | None) -> bytes | None:
    length = request.headers.get("content-length")
    limit = config["allowed_payload_size"] * UNITS[config["size_unit"]] if config else LARGEST
    if length is not None and int(length) > limit:
        raise Refused(417 if request.headers.get("expect") else 413, {}, {})
    if length is None and request.method in ("POST", "PUT", "PATCH") and config and config["require_content_length"]:
        raise Refused(411, {}, {})
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > min(limit, LARGEST):
            raise Refused(413, {}, {})
    return body or None


async def _body_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        await answer.aclose()


def _is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and {"origin", "access-control-request-method"} <= set(request.headers)


def _preflight(cors: dict[str, Any]) -> Response:
    lists = {"Methods": cors["methods"], "Headers": cors["headers"]}
    headers = {f"Access-Control-Allow-{name}": ",".join(values) for name, values in lists.items()}
    return Response(status_code=200, headers={**headers, "Access-Control-Max-Age": str(cors["max_age"])})


def _allow_origin(request: Request, response: Response, cors: dict[str, Any]) -> None:
    """With one origin configured, Kong names that one whoever asks; the browser compares."""
    response.headers["Access-Control-Allow-Origin"] = cors["origins"][0]
    response.headers["Access-Control-Expose-Headers"] = ",".join(cors["exposed_headers"])
    response.headers["Vary"] = "Origin"
