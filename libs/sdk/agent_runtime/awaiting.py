"""The driver that performs a conversation's steps on an event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from typing import Any, TypeVar

import httpx

from agent_runtime.driving import Talk, built, plain, reply_of
from agent_runtime.messages import Reply, Request, Source
from agent_runtime.steps import AskToken, Emit, Read, Send, Step, Wait

T = TypeVar("T")
AsyncToken = str | Callable[[], str | Awaitable[str]]


class AwaitingDriver:
    """Performs conversations on an event loop."""

    def __init__(self, http: httpx.AsyncClient, token: AsyncToken | None) -> None:
        self.http = http
        self._token = token

    async def run(self, conversation: Generator[Step, Any, T]) -> T:
        talk = Talk(conversation)
        async for _ in self.items(talk):
            pass
        return talk.result  # type: ignore[return-value]  # set when the conversation has ended

    async def items(self, talk: Talk[Any]) -> AsyncGenerator[Any, None]:
        """What the conversation emits, as the caller asks for it."""
        line = AwaitingLine(self.http, self._token)
        try:
            while (step := talk.step) is not None:
                if isinstance(step, Emit):
                    yield step.item
                    talk.answer(None)
                    continue
                try:
                    value = await line.perform(step)
                except httpx.RequestError as error:
                    talk.fail(error)
                else:
                    talk.answer(value)
        finally:
            talk.close()
            await line.close()


class AwaitingLine:
    """`BlockingLine` on an event loop."""

    def __init__(self, http: httpx.AsyncClient, token: AsyncToken | None) -> None:
        self._http, self._token = http, token
        self._open: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def perform(self, step: Step) -> object:
        match step:
            case Send(request, stream):
                return await self._send(request, stream)
            case Read():
                return b"" if self._chunks is None else await anext(self._chunks, b"")
            case Wait(seconds):
                await asyncio.sleep(seconds)
                return None
            case AskToken(again):
                return await self._ask_token(again)

    async def _send(self, request: Request, stream: bool) -> Reply:
        await self.close()
        body = request.body
        content = body if body is None or isinstance(body, bytes) else awaited_pieces(body)
        response = await self._http.send(built(self._http, request, content), stream=True)
        self._open = response
        if stream and response.is_success:
            self._chunks = response.aiter_bytes()
            return reply_of(response, b"")
        reply = reply_of(response, await response.aread())
        await self.close()
        return reply

    async def _ask_token(self, again: bool) -> str | None:
        if callable(self._token):
            token = self._token()
            return plain(await token if inspect.isawaitable(token) else token)
        return None if self._token is None or again else plain(self._token)

    async def close(self) -> None:
        if self._open is not None:
            await self._open.aclose()
            self._open, self._chunks = None, None


async def awaited_pieces(source: Source) -> AsyncIterator[bytes]:
    for chunk in source.pieces():
        yield chunk
