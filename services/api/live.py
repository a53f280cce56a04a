"""Following runs: who waits for what, woken by Redis, read from PostgreSQL; waiters of one run share its reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prometheus_client import Gauge

from libs.clients.event_stream import EventStream
from libs.clients.event_subscription import Confirmed, Message, Woken
from libs.contracts.live import Delta
from libs.database import events
from libs.database.engine import Database
from libs.database.events import EventRow

POLL_SECONDS = 5.0
POLL_SECONDS_ALONE = 1.0  # while Redis is away
BUFFERED_DELTAS = 1024
FOLLOWERS = Gauge("agent_runtime_api_followers", "Streams and long polls that are open")


class Follower:
    """One waiter at one run. What it missed while it was busy is known by number, or read again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self._deltas: deque[Delta] = deque()
        self.heard = 0  # the log reaches so far
        self.woken_at = loop.time()
        self.start_over = False  # heard anew, or more than the buffer holds: read the log and the kept deltas again
        self.gone = False

    def __call__(self, message: Message) -> None:
        if isinstance(message, Woken):
            self.heard = max(self.heard, message.seq)
        elif isinstance(message, Delta):
            self._buffer(message)
        elif isinstance(message, Confirmed):
            self.start_over = True
        self.wake()

    def wake(self) -> None:
        self.woken_at = self._loop.time()
        self._event.set()

    def leave(self) -> None:
        """Nobody is there any longer."""
        self.gone = True
        self.wake()

    async def wait(self, seconds: float) -> None:
        """Until something is heard, at most so long."""
        if seconds > 0 and not self._event.is_set():
            timer = self._loop.call_later(seconds, self._event.set)
            try:
                await self._event.wait()
            finally:
                timer.cancel()
        self._event.clear()

    def take_deltas(self) -> list[Delta]:
        taken = list(self._deltas)
        self._deltas.clear()
        return taken

    def _buffer(self, delta: Delta) -> None:
        if len(self._deltas) >= BUFFERED_DELTAS:
            self._deltas.clear()
            self.start_over = True
        self._deltas.append(delta)


class Live:
    """All followers of this process."""

    def __init__(self, database: Database, stream: EventStream) -> None:
        self._database = database
        self._stream = stream
        self._followers: set[Follower] = set()
        self._reads: dict[tuple[UUID, UUID, int], tuple[float, asyncio.Task[list[EventRow]]]] = {}
        self.stopping = False

    @property
    def poll_seconds(self) -> float:
        return POLL_SECONDS if self._stream.live else POLL_SECONDS_ALONE

    def stop(self) -> None:
        """The process ends: nobody waits any longer."""
        self.stopping = True
        for follower in self._followers:
            follower.wake()

    @contextmanager
    def follow(self, tenant_id: UUID, run_id: UUID) -> Iterator[Follower]:
        follower = Follower(asyncio.get_running_loop())
        self._followers.add(follower)
        FOLLOWERS.inc()
        unsubscribe = self._stream.subscribe(tenant_id, run_id, follower)
        try:
            yield follower
        finally:
            unsubscribe()
            self._followers.discard(follower)
            FOLLOWERS.dec()

    async def deltas(self, tenant_id: UUID, run_id: UUID) -> list[Delta]:
        return await self._stream.deltas(tenant_id, run_id)

    async def read(self, tenant_id: UUID, run_id: UUID, after: int, limit: int, *, not_before: float) -> list[EventRow]:
        """A page of the log, by a read that began after `not_before`, perhaps somebody else's."""
        place = tenant_id, run_id, after
        shared = self._reads.get(place)
        if shared is None or shared[0] < not_before:
            began = asyncio.get_running_loop().time()
            task = asyncio.create_task(self._page(tenant_id, run_id, after, limit))
            shared = self._reads[place] = began, task
            task.add_done_callback(lambda done: self._forget(place, done))
        return await asyncio.shield(shared[1])

    def _forget(self, place: tuple[UUID, UUID, int], task: asyncio.Task[list[EventRow]]) -> None:
        if place in self._reads and self._reads[place][1] is task:
            del self._reads[place]
        if not task.cancelled():
            task.exception()  # whoever waited has seen it

    async def _page(self, tenant_id: UUID, run_id: UUID, after: int, limit: int) -> list[EventRow]:
        async with self._database.single() as connection:
            return await events.page(connection, tenant_id, run_id, after, limit)
