"""How much of the task queue waits for a worker: told to the log and to Prometheus, for whoever adds workers."""

from __future__ import annotations

import logging

import prometheus_client as metrics

from libs.clients.temporal import Temporal
from services.worker.rounds import come_round

logger = logging.getLogger(__name__)
BACKLOG = metrics.Gauge("agent_runtime_task_queue_backlog", "Tasks that wait in Temporal's queue for a worker")


class Backlog:
    """Asks Temporal every so many seconds; every worker says the same, so the largest is to be taken, not the sum."""

    def __init__(self, temporal: Temporal, every: float) -> None:
        self._temporal = temporal
        self._every = every

    async def work(self) -> None:
        await come_round("backlog", self._every, self.look)

    async def look(self) -> int:
        """With Temporal away there is no number rather than an old one."""
        try:
            found = await self._temporal.backlog()
        except Exception:
            BACKLOG.set(float("nan"))
            raise
        BACKLOG.set(found)
        logger.info("backlog of the task queue", extra={"fields": {"backlog": found}})
        return found
