"""Wake-ups for listeners: at once for the end of a run, a moment later, and together, for what happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from libs.domain.events import RUN_PAUSED, TERMINAL, NewEvent
from services.worker.keys import RunKey

MOMENT = 0.04  # seconds; fast steps are told together, since each wake-up is a query of every api that has a listener

FREEING = frozenset({RUN_PAUSED, *TERMINAL})


class Live(Protocol):
    """Tells listeners that there is something to read; never waits, never fails."""

    def wake(self, tenant_id: UUID, run_id: UUID, last_seq: int) -> None: ...


class Wakes:
    """After each commit of this worker."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._later: dict[RunKey, tuple[asyncio.TimerHandle, int]] = {}
        self._freed: list[Callable[[UUID], None]] = []

    def on_freed(self, listener: Callable[[UUID], None]) -> None:
        """Hear of the tenants of runs that ended or parked, and so gave up their place."""
        self._freed.append(listener)

    def committed(self, run: RunKey, events: Sequence[NewEvent], last_seq: int) -> None:
        """Listeners of the run are to read up to `last_seq`."""
        if any(event.type in FREEING for event in events):
            for listener in self._freed:
                listener(run.tenant_id)
        timer, _ = self._later.get(run, (None, 0))
        if any(event.type in TERMINAL for event in events):
            if timer:
                timer.cancel()
            self._wake(run, last_seq)
        else:
            timer = timer or asyncio.get_running_loop().call_later(MOMENT, self._due, run)
            self._later[run] = timer, last_seq

    def _due(self, run: RunKey) -> None:
        self._wake(run, self._later[run][1])

    def _wake(self, run: RunKey, last_seq: int) -> None:
        self._later.pop(run, None)
        self._live.wake(run.tenant_id, run.run_id, last_seq)
