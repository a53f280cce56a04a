"""What is asked of the runs that this process works on: one query a second, and Redis makes it faster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from libs.database import reconciliation
from libs.database.engine import Database, is_unavailable
from services.worker.keys import RunKey

logger = logging.getLogger(__name__)
POLL_SECONDS = 1.0


@dataclass(eq=False)
class Watched:
    """A step in progress. `changed` wakes it: its row is to be read (`asked`), or the worker stops (`leaving`).

    Whoever waits for it looks at `leaving` first: it is told once, perhaps while the step was reading.
    """

    run: RunKey
    claim: str = field(default_factory=lambda: uuid4().hex[:12])  # names this activity in what it opens
    control_seq: int = 0
    asked: bool = False
    leaving: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hint(self) -> None:
        """Somebody thinks that something was asked; the row says what."""
        self.asked = True
        self.changed.set()

    def leave(self) -> None:
        """The worker stops: return at the next commit."""
        self.leaving = True
        self.changed.set()

    def seen(self, control_seq: int) -> None:
        """The step has read the row up to here."""
        self.control_seq = max(self.control_seq, control_seq)
        self.asked = False
        self.changed.clear()


class ControlWatch:
    """The steps in progress, and what wakes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watched: set[Watched] = set()
        self._hinted = asyncio.Event()
        self._leaving = False
        self._may_return = asyncio.Event()
        self._may_return.set()

    @contextlib.contextmanager
    def watch(self, run: RunKey) -> Iterator[Watched]:
        watched = Watched(run)
        if self._leaving:
            watched.leave()
        self._watched.add(watched)
        try:
            yield watched
        finally:
            self._watched.discard(watched)

    @contextlib.asynccontextmanager
    async def attend(self, run: RunKey) -> AsyncIterator[Watched]:
        """Watch a step that Temporal gave; it does not return, nor fail, while steps are held."""
        with self.watch(run) as watched:
            try:
                yield watched
            finally:
                await self._may_return.wait()

    @property
    def busy(self) -> int:
        return len(self._watched)

    def hint(self) -> None:
        """Read the rows now: something was asked of some run."""
        self._hinted.set()

    def hold(self) -> None:
        """The worker is about to stop: no step returns until it leaves, lest this process is given what follows."""
        self._may_return.clear()

    def leave(self) -> None:
        """The worker stops: every step returns at its next commit."""
        self._leaving = True
        self._may_return.set()
        for watched in self._watched:
            watched.leave()

    async def poll(self) -> None:
        """Compare the rows with what the steps have seen, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hinted.wait(), POLL_SECONDS)
            self._hinted.clear()
            if self._watched:
                try:
                    await self._compare()
                except Exception as error:
                    if not is_unavailable(error):
                        raise
                    logger.warning("cannot read what is asked of runs: the database is away")

    async def _compare(self) -> None:
        runs = list({watched.run for watched in self._watched})
        async with self._database.maintenance() as connection:
            rows = await reconciliation.controls(connection, runs)
        for watched in list(self._watched):
            control_seq, _ = rows.get(watched.run, (0, "run"))
            if control_seq > watched.control_seq:
                watched.hint()
