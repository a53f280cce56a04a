"""A scripted server behind `httpx.MockTransport`: gives its answers in order and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import httpx
from agent_runtime import AsyncClient, Client, Retry

URL = "http://127.0.0.1:8080"
AT_ONCE = Retry(attempts=6, first_pause=0.0, longest_pause=0.0)
Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Chunks, and then either an end or a broken connection."""

    def __init__(self, chunks: Sequence[bytes], broken: bool = False) -> None:
        self.chunks, self.broken = chunks, broken

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks
        if self.broken:
            raise httpx.ReadError("connection reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


class ScriptedApi:
    """Answers in the order given; the last one is given again for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def client(self, **options: Any) -> Client:
        http = httpx.Client(transport=httpx.MockTransport(self), base_url=URL)
        return Client(URL, **{"token": "secret-token", "retry": AT_ONCE, **options}, http=http)

    def async_client(self, **options: Any) -> AsyncClient:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self), base_url=URL)
        return AsyncClient(URL, **{"token": "secret-token", "retry": AT_ONCE, **options}, http=http)

    def headers(self, name: str) -> list[str | None]:
        return [request.headers.get(name) for request in self.requests]

    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


def ok(body: Any, status: int = 200, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    """A JSON answer, fresh each time."""
    return lambda _: httpx.Response(status, json=body, headers=headers)


def problem(status: int, code: str, **more: Any) -> Callable[[httpx.Request], httpx.Response]:
    headers = {"content-type": "application/problem+json"}
    if "retry_after" in more:
        headers["retry-after"] = str(more.pop("retry_after"))
    body = {"type": f"urn:agent-runtime:problem:{code}", "title": code, "status": status, "code": code, **more}
    return lambda _: httpx.Response(status, content=json.dumps(body), headers=headers)


def events(chunks: Sequence[bytes], broken: bool = False) -> Callable[[httpx.Request], httpx.Response]:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return lambda _: httpx.Response(200, headers=headers, stream=Stream(chunks, broken))


def run(status: str = "queued", **fields: Any) -> dict[str, Any]:
    return {"id": "01", "agent": "echo", "version": 1, "status": status, "last_seq": 1, **fields}
