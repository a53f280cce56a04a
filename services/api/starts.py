"""Starting and waking workflows behind the answer: a bounded queue that may lose what the reconciler repeats anyway."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol
from uuid import UUID

from prometheus_client import Counter

from libs.contracts.workflow import RunRef, Wake
from libs.database.admission import Given
from libs.domain.errors import DependencyUnavailable
from libs.observability.context import bound

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 2000
AT_ONCE = 16
WARN_SECONDS = 5.0
LEFT = Counter(
    "agent_runtime_api_left_to_reconciler_total", "Starts and wake-ups that the API did not deliver itself", ["reason"]
)
for _reason in ("unavailable", "overflow", "failed", "shutdown"):  # there from the start, so that increases are seen
    LEFT.labels(_reason)
Call = Callable[[], Awaitable[object]]


class Workflows(Protocol):
    """The part of `libs.clients.temporal` that is used here; each call gives up after 2 s by itself."""

    async def start_agent_run(self, run: RunRef, priority: int) -> None: ...

    async def wake(self, run: RunRef, wake: Wake) -> bool: ...


class Starts:
    """One queue per process; `start` and `wake` never wait."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._queue: asyncio.Queue[tuple[RunRef, Call]] = asyncio.Queue(QUEUE_LENGTH)
        self._tasks: list[asyncio.Task[None]] = []
        self._warned_at = float("-inf")

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._deliver()) for _ in range(AT_ONCE)]

    async def close(self) -> None:
        """Leave what is queued; it is in the database."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        LEFT.labels("shutdown").inc(self._queue.qsize())

    def start(self, tenant_id: UUID, run_id: UUID, deadline: datetime | None, priority: int) -> None:
        ref = _ref(tenant_id, run_id, deadline)
        self._put(ref, lambda: self._workflows.start_agent_run(ref, priority))

    def wake(self, tenant_id: UUID, run_id: UUID, deadline: datetime | None, wake: Wake) -> None:
        ref = _ref(tenant_id, run_id, deadline)
        self._put(ref, lambda: self._workflows.wake(ref, wake))

    def admitted(self, tenant_id: UUID, given: Given) -> None:
        """A run got its place: it is started, or goes on where it was parked."""
        ref = _ref(tenant_id, given.run_id, given.deadline_at)
        self._put(ref, lambda: begin(self._workflows, ref, given))

    def _put(self, ref: RunRef, call: Call) -> None:
        try:
            self._queue.put_nowait((ref, call))
        except asyncio.QueueFull:
            LEFT.labels("overflow").inc()

    async def _deliver(self) -> None:
        while True:
            ref, call = await self._queue.get()
            with bound(tenant_id=ref.tenant_id, run_id=ref.run_id, trace_id=UUID(ref.run_id).hex):
                try:
                    await call()
                except DependencyUnavailable as error:
                    LEFT.labels("unavailable").inc()
                    self._warn(error.detail)
                except Exception as error:
                    # Whatever one delivery does, the next ones go on.
                    LEFT.labels("failed").inc()
                    logger.error("left to the reconciler", exc_info=error)

    def _warn(self, detail: str) -> None:
        """Once in a while: during an outage every start fails."""
        if time.monotonic() - self._warned_at > WARN_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("starts and wake-ups are left to the reconciler: %s", detail)


async def begin(workflows: Workflows, ref: RunRef, given: Given) -> None:
    """Start the workflow, which is harmless when it is there, and then wake it."""
    await workflows.start_agent_run(ref, given.priority)
    if given.control_seq:
        await workflows.wake(ref, Wake(given.control_seq))


def _ref(tenant_id: UUID, run_id: UUID, deadline: datetime | None) -> RunRef:
    return RunRef(str(tenant_id), str(run_id), deadline.timestamp() if deadline else None)
