"""Sends one scripted answer: in its pieces, at its speed, held where the script says, broken where it says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

from deploy.demo import serving, wire
from deploy.demo.journal import Journal, Record
from deploy.demo.scripts import Answer, Fault

_STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class _Over(Exception):
    """Nothing more is sent: the client went away, or a fault has ended the answer."""


class Playback:
    """One answer on its way."""

    def __init__(
        self,
        journal: Journal,
        record: Record,
        answer: Answer,
        fault: Fault | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._journal = journal
        self._record = record
        self._answer = answer
        self._fault = fault
        self._scope = scope
        self._receive = receive
        self._send = send
        self._name = f"chatcmpl-{record.model}-{record.turn}"
        self._malformed = fault is not None and fault.kind == "malformed_arguments"
        self._hold = answer.hold_for(record.attempt)
        self._opened = False
        self._unsent: list[bytes] = []
        self._gone: asyncio.Task[None] | None = None

    async def stream(self, include_usage: bool) -> None:
        """As server-sent events; pieces without a delay between them leave in one write."""
        record, model, answer = self._record, self._record.model, self._answer
        try:
            await self._wait_first()
            for index, chunk in enumerate(wire.chunks(self._name, model, answer, self._malformed)):
                if index and answer.delay_ms:
                    await self._flush()
                    await self._wait(asyncio.sleep(answer.delay_ms / 1000))
                self._unsent.append(chunk)
                record.chunks_sent = index + 1
                await self._after_chunk(index + 1)
            self._unsent.append(wire.ending(self._name, model, answer))
            if include_usage and record.usage:
                self._unsent.append(wire.usage_chunk(self._name, model, record.usage))
            self._unsent.append(wire.DONE)
            await self._flush(last=True)
            self._journal.set(record, "finished")
        except _Over:
            return
        finally:
            self._stop_watching()

    async def whole(self) -> None:
        """As one JSON document, after the time that the stream would have taken."""
        record, answer = self._record, self._answer
        count = len(wire.chunks(self._name, record.model, answer, self._malformed))
        try:
            await self._wait_first()
            if answer.delay_ms:
                await self._wait(asyncio.sleep(answer.delay_ms * (count - 1) / 1000))
            for sent in range(1, count + 1):
                await self._after_chunk(sent)
            record.chunks_sent = count
            record.first_chunk_at, record.status = time.time(), 200
            body = wire.completion(self._name, record.model, answer, self._malformed, record.usage)
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})
            self._journal.set(record, "finished")
        except _Over:
            return
        finally:
            self._stop_watching()

    async def _wait_first(self) -> None:
        if self._answer.first_delay_ms:
            await self._wait(asyncio.sleep(self._answer.first_delay_ms / 1000))
        await self._after_chunk(0)

    async def _after_chunk(self, sent: int) -> None:
        """Do what the script wants after so many chunks."""
        fault = self._fault
        default = 1 if fault and fault.kind == "cut_stream" else 0
        if fault and sent == (default if fault.after_chunks is None else fault.after_chunks):
            if fault.kind == "reset":
                await self._break(sent)
            elif fault.kind == "cut_stream":
                await self._flush(last=True)
                self._journal.set(self._record, "failed")
                raise _Over
            elif fault.kind == "silent":
                await self._held("silent", sent)
        if sent == self._hold:
            await self._held("held", sent)

    async def _break(self, sent: int) -> None:
        if sent:
            await self._flush()
            await asyncio.sleep(0.02)  # a reset overtakes what the client has not read yet
        serving.reset(self._scope)
        self._journal.set(self._record, "failed")
        raise _Over

    async def _held(self, state: Any, sent: int) -> None:
        if sent and self._record.stream:
            await self._flush()
        self._journal.set(self._record, state)
        await self._wait(self._record.released.wait())
        self._record.released.clear()
        self._journal.set(self._record, "streaming")

    async def _wait(self, waiting: Coroutine[Any, Any, Any]) -> None:
        """Wait, unless the client goes away before."""
        if self._gone is None:
            self._gone = asyncio.create_task(self._disconnected())
        pause = asyncio.create_task(waiting)
        try:
            await asyncio.wait({pause, self._gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        if self._gone.done():
            self._journal.set(self._record, "aborted")
            raise _Over

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue

    def _stop_watching(self) -> None:
        if self._gone is not None:
            self._gone.cancel()

    async def _flush(self, last: bool = False) -> None:
        if not self._opened:
            self._opened = True
            self._record.status = 200
            await self._send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        if self._unsent and self._record.first_chunk_at is None:
            self._record.first_chunk_at = time.time()
            self._record.state = "streaming"
        body = b"".join(self._unsent)
        self._unsent.clear()
        await self._send({"type": "http.response.body", "body": body, "more_body": not last})
