"""What both drivers share: the course of one conversation, requests for httpx, tokens, errors of the transport."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

import httpx

from agent_runtime.failures import Unusable
from agent_runtime.messages import Reply, Request
from agent_runtime.steps import Emit, Step, TransportFailed

T = TypeVar("T")


class Talk(Generic[T]):
    """One conversation and what it ended with; `step` is None at its end."""

    def __init__(self, conversation: Generator[Any, Any, T]) -> None:
        self.result: T | None = None
        self._conversation = conversation
        self.step: Step | Emit[Any] | None = None
        self.answer(None)

    def answer(self, value: object) -> None:
        self._advance(lambda: self._conversation.send(value))

    def fail(self, error: httpx.RequestError) -> None:
        failure = TransportFailed(described(error))
        self._advance(lambda: self._conversation.throw(failure))

    def _advance(self, move: Callable[[], Step | Emit[Any]]) -> None:
        try:
            self.step = move()
        except StopIteration as end:
            self.step, self.result = None, end.value

    def close(self) -> None:
        self._conversation.close()


def described(error: httpx.RequestError) -> str:
    """What happened and what to do, without headers or bodies."""
    url = error.request.url.copy_with(query=None) if error._request is not None else "the API"
    kind = type(error).__name__
    if isinstance(error, httpx.ConnectError):
        return f"cannot connect to {url} ({error}); check that it runs and that the URL is right"
    if isinstance(error, httpx.TimeoutException):
        return f"{url} did not answer in time ({kind}); check that it is not overloaded"
    return f"the connection to {url} broke ({kind}); check the network and the API's log"


def built(http: httpx.Client | httpx.AsyncClient, request: Request, content: Any) -> httpx.Request:
    """The httpx request; a body of known size is sent with its length."""
    headers = dict(request.headers)
    if isinstance(request.body, bytes):
        headers["Content-Length"] = str(len(request.body))
    elif request.body is not None:
        headers["Content-Length"] = str(request.body.size)
    timeout = http.timeout
    if request.read_timeout is not None:
        timeout = httpx.Timeout(timeout.write, connect=timeout.connect, read=request.read_timeout)
    return http.build_request(
        request.method, request.path, params=request.params, headers=headers, content=content, timeout=timeout
    )


def reply_of(response: httpx.Response, body: bytes) -> Reply:
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def plain(token: object) -> str:
    """A token as a header can carry it; one that cannot is never quoted."""
    text = token.strip() if isinstance(token, str) else ""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise Unusable("the token is empty or holds characters that a header cannot carry; get a fresh one")
    return text
