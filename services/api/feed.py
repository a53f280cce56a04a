"""One client's stream of a run as Server-Sent Events: durable events in order, and deltas of the turn in progress."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from uuid import UUID

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.contracts.live import Delta
from libs.database.engine import is_unavailable
from libs.database.events import EventRow, Opening
from libs.domain.events import MODEL_COMPLETED, MODEL_FAILED, MODEL_STARTED, TERMINAL
from services.api.callers import Caller
from services.api.live import Follower, Live
from services.api.schemas.events import event_json
from services.api.standing import Standing

PAGE = 1000
HEARTBEAT_SECONDS = 15.0
SEND_SECONDS = 30.0  # a client that takes nothing for so long is gone
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b": still here\n\n"


class DeltaOrder:
    """Which deltas are still worth sending, in which order; `position` is the last event that was sent."""

    def __init__(self, committed_turn: int) -> None:
        self._committed = committed_turn
        self._attempt = (0, 0)
        self._next_index = 0
        self._waiting: list[Delta] = []

    def note(self, event: EventRow) -> None:
        """An event went out: turns and attempts end here."""
        if event.turn is None:
            return
        if event.type == MODEL_COMPLETED:
            self._committed = max(self._committed, event.turn)
        elif event.type in (MODEL_STARTED, MODEL_FAILED) and event.attempt is not None:
            over = 1 if event.type == MODEL_FAILED else 0
            self._advance((event.turn, event.attempt + over))

    def add(self, deltas: list[Delta], *, again: bool = False) -> None:
        """`again`: all that is kept was read once more, and comes before what was just heard."""
        self._waiting += deltas
        if again:
            self._waiting.sort(key=lambda delta: (delta.turn, delta.attempt, delta.index))

    @property
    def needs(self) -> int:
        """Events up to here must go out first."""
        return max((delta.base_seq for delta in self._waiting), default=0)

    def release(self, position: int) -> list[Delta]:
        """What can go out now."""
        ready, held = [], []
        for delta in self._waiting:
            if delta.turn <= self._committed or (delta.turn, delta.attempt) < self._attempt:
                continue
            if delta.base_seq > position:
                held.append(delta)
                continue
            self._advance((delta.turn, delta.attempt))
            if delta.index >= self._next_index:
                self._next_index = delta.index + 1
                ready.append(delta)
        self._waiting = held
        return ready

    def _advance(self, attempt: tuple[int, int]) -> None:
        if attempt > self._attempt:
            self._attempt = attempt
            self._next_index = 0


class Feed:
    """Frames from the page that was read when the client came, to the end of run, token, process or welcome."""

    def __init__(
        self, live: Live, standing: Standing, caller: Caller, run_id: UUID, after: int, opening: Opening
    ) -> None:
        self._live = live
        self._standing = standing
        self._caller = caller
        self._run_id = run_id
        self._opening = opening
        self._position = min(after, opening.last_seq)
        self._order = DeltaOrder(opening.turn)
        self._ended = False
        self._follower: Follower | None = None
        self._gone = False

    def leave(self) -> None:
        """The client has gone, or may stay no longer."""
        self._gone = True
        if self._follower:
            self._follower.leave()

    async def frames(self) -> AsyncIterator[bytes]:
        yield RETRY + self._render(self._opening.events)
        if self._opening.finished and self._position >= self._opening.last_seq:
            return
        with (
            self._live.follow(self._caller.tenant_id, self._run_id) as self._follower,
            self._standing.watch(self._caller, self.leave),
        ):
            async for chunk in self._follow(self._follower):
                yield chunk

    async def _follow(self, follower: Follower) -> AsyncIterator[bytes]:
        behind = self._position < self._opening.last_seq
        read_at = time.monotonic() + self._live.poll_seconds
        beat_at = time.monotonic() + HEARTBEAT_SECONDS
        while not self._ended:
            # Sooner from the moment that Redis is away; deltas alone put no reading off.
            read_at = min(read_at, time.monotonic() + self._live.poll_seconds)
            if not behind:
                await follower.wait(min(read_at, beat_at, self._expires_at()) - time.monotonic())
            if self._gone or time.monotonic() >= self._expires_at():
                return
            if self._live.stopping:
                yield f"retry: {random.randint(200, 3000)}\n\n".encode()  # noqa: S311 - spreads reconnections, no secret
                return
            polled = time.monotonic() >= read_at
            chunk, behind = await self._next(follower, must_read=polled or behind)
            if polled:
                read_at = time.monotonic() + self._live.poll_seconds
            if not chunk and time.monotonic() >= beat_at:
                chunk = HEARTBEAT
            if chunk:
                beat_at = time.monotonic() + HEARTBEAT_SECONDS
                yield chunk

    async def _next(self, follower: Follower, *, must_read: bool) -> tuple[bytes, bool]:
        """What there is to send, and whether there is more to read at once."""
        again, follower.start_over = follower.start_over, False
        heard = follower.take_deltas()
        if again:
            heard = await self._kept_deltas(follower) + heard
        self._order.add(heard, again=again)
        chunk, more = b"", False
        if must_read or again or max(follower.heard, self._order.needs) > self._position:
            page = await self._read(follower, self._position)
            chunk, more = self._render(page or []), page is None or len(page) == PAGE
        if not self._ended:
            chunk += b"".join(_delta_frame(delta) for delta in self._order.release(self._position))
        return chunk, more

    async def _kept_deltas(self, follower: Follower) -> list[Delta]:
        """The pieces that are kept; which attempts are over may stand in events that the client saw before."""
        kept = await self._live.deltas(self._caller.tenant_id, self._run_id)
        oldest = min((delta.base_seq for delta in kept), default=self._position)
        if oldest < self._position:
            for event in await self._read(follower, oldest) or []:
                if event.seq <= self._position:
                    self._order.note(event)
        return kept

    async def _read(self, follower: Follower, after: int) -> list[EventRow] | None:
        """A page of the log; None while the database is away: the client stays, the database will be back."""
        try:
            return await self._live.read(
                self._caller.tenant_id, self._run_id, after, PAGE, not_before=follower.woken_at
            )
        except Exception as error:
            if not is_unavailable(error):
                raise
            await asyncio.sleep(1)
            return None

    def _expires_at(self) -> float:
        return time.monotonic() + self._caller.expires_at - time.time()

    def _render(self, page: list[EventRow]) -> bytes:
        frames = []
        for event in page:
            self._order.note(event)
            self._position = event.seq
            self._ended = self._ended or event.type in TERMINAL
            frames.append(f"id: {event.seq}\nevent: {event.type}\ndata: {event_json(event)}\n\n")
        return "".join(frames).encode()


def _delta_frame(delta: Delta) -> bytes:
    return f"event: delta\ndata: {json.dumps(asdict(delta), separators=(',', ':'))}\n\n".encode()


class EventStreamResponse(Response):
    """Sends a feed as it comes; notices when the client has gone."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        frames = self._feed.frames()
        watching: asyncio.Task[None] | None = None
        try:
            async for frame in frames:
                async with asyncio.timeout(SEND_SECONDS):
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
                watching = watching or asyncio.create_task(self._watch(receive))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return  # the server closes the connection of an answer that was not completed
        finally:
            if watching:
                watching.cancel()
            await frames.aclose()  # type: ignore[attr-defined]  # an async generator, declared as what it gives

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._feed.leave()
