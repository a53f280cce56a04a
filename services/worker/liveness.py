"""This process and what it has in flight, as others see it; whether a call that somebody left open is alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID, uuid4

from libs.database import workers
from libs.database.engine import Database, is_unavailable
from libs.domain.run_log import Attempt

logger = logging.getLogger(__name__)
RENEW_TIMEOUT = 2.0  # seconds; a renewal that takes longer is given up


def suspended_clock() -> float:
    """Seconds on a clock that counts on while the machine or the process is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Liveness:
    """A worker's row: renewed every few seconds with the calls it has in flight."""

    def __init__(self, database: Database, name: str, task_queue: str, dead_after: float, renew: float) -> None:
        self.id: UUID = uuid4()
        self.name = name
        self.label = f"{name}/{self.id}"  # how events name this worker
        self.dead_after = dead_after
        self._database = database
        self._task_queue = task_queue
        self._renew_seconds = renew
        self._calls: set[str] = set()
        self._claims: set[str | None] = set()  # of the steps in progress here
        self._renewed_at = float("-inf")

    @contextlib.contextmanager
    def in_flight(self, claim: str) -> Iterator[Callable[[str], None]]:
        """A step's calls: list each before its opening is committed; they leave the list when the step ends.

        `claim` names the step in what it opens.
        """
        mine: set[str] = set()
        self._claims.add(claim)

        def add(call: str) -> None:
            mine.add(call)
            self._calls.add(call)

        try:
            yield add
        finally:
            self._calls -= mine
            self._claims.discard(claim)

    @property
    def trusted(self) -> bool:
        """Whether others still take this process for alive, by a clock that counts suspension."""
        return suspended_clock() - self._renewed_at < self.dead_after / 2

    def may_send(self, opened_at: float) -> bool:
        """Whether a `write` whose opening was begun then may still be sent.

        Not after this process was suspended, nor while it cannot say that it lives: others may have recorded an end of
        the call. `opened_at` is of `suspended_clock`.
        """
        return self.trusted and suspended_clock() - opened_at <= self.dead_after / 2

    async def start(self) -> None:
        """Write the row; no step may be taken before."""
        await self._renew()

    async def keep_alive(self) -> None:
        """Renew the row until cancelled."""
        while True:
            await asyncio.sleep(self._renew_seconds)
            try:
                async with asyncio.timeout(RENEW_TIMEOUT):
                    await self._renew()
            except Exception as error:
                if not is_unavailable(error):
                    raise
                logger.warning("cannot renew this worker's row: the database is away")

    async def _renew(self) -> None:
        asked_at = suspended_clock()
        async with self._database.maintenance() as connection:
            await workers.renew(connection, self.id, self.name, self._task_queue, sorted(self._calls))
        self._renewed_at = asked_at

    async def leave(self) -> None:
        """This process ends in order."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(RENEW_TIMEOUT), self._database.maintenance() as connection:
                await workers.remove(connection, self.id)

    async def is_alive(self, attempt: Attempt, call: str) -> bool:
        """Whether an open call is in flight on a living worker; a call that its worker does not list is dead.

        Of this process it is the step that opened the call which says so: another one may list the same call, which it
        meant to open and then found open.

        A row that was renewed before the call can have been listed decides nothing: the call counts as alive until
        the row is renewed, or too old.
        """
        worker_id = _worker_id(attempt.worker)
        if worker_id == self.id:
            return attempt.claim in self._claims
        if worker_id is None:
            return False
        async with self._database.maintenance() as connection:
            sight = await workers.sight(connection, worker_id, call)
        if sight is None or sight.now - sight.seen_at >= timedelta(seconds=self.dead_after):
            return False
        return sight.listed or sight.seen_at < attempt.at + timedelta(seconds=RENEW_TIMEOUT)


def _worker_id(label: str) -> UUID | None:
    try:
        return UUID(label.rpartition("/")[2])
    except ValueError:
        return None
