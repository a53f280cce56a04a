"""Wake-ups for listeners: at once for what came of a step, a moment later for what was only opened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from libs.domain.events import MODEL_STARTED, RUN_STARTED, TOOL_STARTED, NewEvent
from services.worker.keys import RunKey

MOMENT = 0.02  # seconds; a fast step is told as one, a slow one is seen to have begun
OPENINGS = frozenset({RUN_STARTED, MODEL_STARTED, TOOL_STARTED})


class Live(Protocol):
    """Tells listeners that there is something to read; never waits, never fails."""

    def wake(self, tenant_id: UUID, run_id: UUID, last_seq: int) -> None: ...


class Wakes:
    """After each commit of this worker."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._later: dict[RunKey, asyncio.TimerHandle] = {}

    def committed(self, run: RunKey, events: Sequence[NewEvent], last_seq: int) -> None:
        """Listeners of the run are to read up to `last_seq`."""
        if later := self._later.pop(run, None):
            later.cancel()
        if all(event.type in OPENINGS for event in events):
            self._later[run] = asyncio.get_running_loop().call_later(MOMENT, self._wake, run, last_seq)
        else:
            self._live.wake(run.tenant_id, run.run_id, last_seq)

    def _wake(self, run: RunKey, last_seq: int) -> None:
        self._later.pop(run, None)
        self._live.wake(run.tenant_id, run.run_id, last_seq)
