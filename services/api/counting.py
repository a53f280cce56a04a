"""Numbers of the whole platform for Prometheus: every API process counts the same, so take the largest, not the sum."""

from __future__ import annotations

import asyncio
import logging
import random

from prometheus_client import Counter, Gauge

from libs.database import census
from libs.database.engine import Database, is_unavailable

logger = logging.getLogger(__name__)
RUNS = Gauge("agent_runtime_runs", "Runs that have not ended, by state; the same in every API process", ["state"])
OLDEST = Gauge(
    "agent_runtime_runs_oldest_unstarted_seconds",
    "Age of the oldest run that has its place and was not started; the same in every API process",
)
DATABASE_UP = Gauge("agent_runtime_database_up", "1 where this process reaches the database, 0 where it does not")
WORKERS = Gauge("agent_runtime_workers", "Workers that live; the same in every API process")
ACCEPTED = Counter("agent_runtime_runs_accepted_total", "Runs that were recorded; repeated requests do not count")


class Counting:
    """One cheap question every few seconds, however often Prometheus asks."""

    def __init__(self, database: Database, every: float, task_queue: str, worker_dead_after: float) -> None:
        self._database = database
        self._every = every
        self._task_queue = task_queue
        self._worker_dead_after = worker_dead_after

    async def keep_counting(self) -> None:
        """Until cancelled. With the database away there is no number rather than an old one."""
        while True:
            try:
                await self.count()
            except Exception as error:
                _forget()
                if is_unavailable(error):
                    DATABASE_UP.set(0)
                else:
                    logger.error("runs and workers cannot be counted", exc_info=error)
            await asyncio.sleep(self._every * random.uniform(0.8, 1.2))  # noqa: S311 - spreads processes, no secret

    async def count(self) -> None:
        async with self._database.maintenance() as connection:
            taken = await census.take(connection, self._task_queue, self._worker_dead_after)
        for state, count in taken.runs.items():
            RUNS.labels(state).set(count)
        DATABASE_UP.set(1)
        OLDEST.set(taken.oldest_unstarted)
        WORKERS.set(taken.workers)


def _forget() -> None:
    RUNS.clear()
    for gauge in (OLDEST, WORKERS):
        gauge.set(float("nan"))
