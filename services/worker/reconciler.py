"""Makes true what was accepted: runs without a workflow are started, what was not seen is signalled again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from uuid import UUID

import prometheus_client as metrics
from temporalio.client import WorkflowExecutionStatus

from libs.clients.temporal import Temporal
from libs.contracts.workflow import CANCEL_REQUESTED, EndRequest, RunRef, Wake
from libs.database import reconciliation
from libs.database.engine import Database
from libs.database.reconciliation import Neglected
from services.worker.bench import Workbench
from services.worker.finishing import finish_one_of_many
from services.worker.keys import RunKey
from services.worker.rounds import come_round

logger = logging.getLogger(__name__)
BATCH = 50
FAILURES_AT_MOST = 10  # of a run's workflow, as one worker sees them
SWEEP_SECONDS = 600.0
REPAIRS = metrics.Counter(
    "agent_runtime_reconciler_repairs_total",
    "Workflows started or signalled by the reconciler",
    ["what"],
)
for _what in ("start", "restart", "wake"):  # there from the start: of a series that appears with 1, no increase is seen
    REPAIRS.labels(_what)
AT_ONCE = 8
BY_A_PERSON = frozenset({WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.TERMINATED})


class Reconciler:
    """One per worker; any number may run, since a run is claimed by moving its next look."""

    def __init__(self, database: Database, temporal: Temporal, bench: Workbench, every: float) -> None:
        self._database = database
        self._temporal = temporal
        self._bench = bench
        self._every = every
        self._failures: Counter[UUID] = Counter()
        self._swept_at = float("-inf")

    async def work(self) -> None:
        """Look after neglected runs until cancelled."""
        await come_round("reconciler", self._every, self.round)

    async def round(self) -> int:
        """One look; how many runs were looked after."""
        await self._temporal.check()  # claimed runs wait longer each time: claim none that cannot be helped
        async with self._database.maintenance() as connection:
            claimed = await reconciliation.claim(connection, BATCH)
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(run: Neglected) -> None:
            async with slots:
                await self._look_after(run)

        await asyncio.gather(*(one(run) for run in claimed))
        if time.monotonic() - self._swept_at > SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            async with self._database.maintenance() as connection:
                await reconciliation.sweep(connection)
        return len(claimed)

    async def _look_after(self, run: Neglected) -> None:
        ref = RunRef(str(run.tenant_id), str(run.run_id), run.deadline_at.timestamp() if run.deadline_at else None)
        if not run.started and run.control_seq == 0:
            await self._start(ref, run, "start")
            return
        status = await self._temporal.status(ref)
        if status is WorkflowExecutionStatus.RUNNING:
            if run.control_seq > run.control_seen:
                await self._temporal.wake(ref, Wake(run.control_seq, stop=run.desired != "run" or not run.admitted))
                REPAIRS.labels("wake").inc()
            return
        key = RunKey(run.tenant_id, run.run_id)
        if status in BY_A_PERSON and run.desired != "cancelled":
            # Only a person does that; what they wanted becomes what is asked of the run.
            await finish_one_of_many(self._bench, key, EndRequest(CANCEL_REQUESTED))
        if status is WorkflowExecutionStatus.FAILED:
            self._failures[run.run_id] += 1
        if self._failures[run.run_id] > FAILURES_AT_MOST:
            await finish_one_of_many(
                self._bench, key, EndRequest("workflow_lost", "The run's workflow failed again and again.")
            )
            del self._failures[run.run_id]
            return
        await self._start(ref, run, "restart")

    async def _start(self, ref: RunRef, run: Neglected, what: str) -> None:
        await self._temporal.start_agent_run(ref, run.priority)
        REPAIRS.labels(what).inc()
