"""The driver that performs a conversation's steps on the caller's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import httpx

from agent_runtime.driving import Talk, built, plain, reply_of
from agent_runtime.messages import Reply, Request
from agent_runtime.steps import AskToken, Emit, Read, Send, Step, Wait

T = TypeVar("T")
Token = str | Callable[[], str]


class BlockingDriver:
    """Performs conversations on the caller's thread."""

    def __init__(self, http: httpx.Client, token: Token | None) -> None:
        self.http = http
        self._token = token

    def run(self, conversation: Generator[Step, Any, T]) -> T:
        talk = Talk(conversation)
        for _ in self.items(talk):
            pass
        return talk.result  # type: ignore[return-value]  # set when the conversation has ended

    def items(self, talk: Talk[Any]) -> Generator[Any, None, None]:
        """What the conversation emits, as the caller asks for it."""
        line = BlockingLine(self.http, self._token)
        try:
            while (step := talk.step) is not None:
                if isinstance(step, Emit):
                    yield step.item
                    talk.answer(None)
                    continue
                try:
                    value = line.perform(step)
                except httpx.RequestError as error:
                    talk.fail(error)
                else:
                    talk.answer(value)
        finally:
            talk.close()
            line.close()


class BlockingLine:
    """The connection of one conversation: at most one answer is open at a time."""

    def __init__(self, http: httpx.Client, token: Token | None) -> None:
        self._http, self._token = http, token
        self._open: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def perform(self, step: Step) -> object:
        match step:
            case Send(request, stream):
                return self._send(request, stream)
            case Read():
                return next(self._chunks, b"")
            case Wait(seconds):
                time.sleep(seconds)
                return None
            case AskToken(again):
                return self._ask_token(again)

    def _send(self, request: Request, stream: bool) -> Reply:
        self.close()
        body = request.body
        content = body if body is None or isinstance(body, bytes) else body.pieces()
        response = self._http.send(built(self._http, request, content), stream=True)
        self._open = response
        if stream and response.is_success:
            self._chunks = response.iter_bytes()
            return reply_of(response, b"")
        reply = reply_of(response, response.read())
        self.close()
        return reply

    def _ask_token(self, again: bool) -> str | None:
        if callable(self._token):
            return plain(self._token())
        return None if self._token is None or again else plain(self._token)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open, self._chunks = None, iter(())
