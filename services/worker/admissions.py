"""Gives places to runs that wait for their turn, and takes those of tenants that may not work.

Everything is found anew from the rows each time, so that nothing is lost with a process: neither a run that waits after
another one ended, nor a batch that an API left in the middle.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from uuid import UUID

import prometheus_client as metrics

from libs.clients.temporal import Temporal
from libs.contracts.workflow import EndRequest, RunRef, Wake
from libs.database import admission
from libs.database.admission import Given, Occupied
from libs.database.engine import Database
from libs.domain.errors import DependencyUnavailable
from services.worker.bench import Workbench
from services.worker.finishing import finish_one_of_many
from services.worker.keys import RunKey
from services.worker.rounds import come_round

logger = logging.getLogger(__name__)
AT_ONCE = 50  # of one tenant; then it is the next one's turn
CALLS_AT_ONCE = 8
OVERDUE_SECONDS = 3.0
ADMITTED = metrics.Counter("agent_runtime_admitted_total", "Runs that waited and got a place")


class Admissions:
    """One per worker; any number may work, since a tenant's places are given by one at a time."""

    def __init__(self, database: Database, temporal: Temporal, bench: Workbench, every: float) -> None:
        self._database = database
        self._temporal = temporal
        self._bench = bench
        self._every = every
        self._waiting: frozenset[UUID] = frozenset()
        self._wanted = asyncio.Event()
        self._overdue_at = float("-inf")

    def freed(self, tenant_id: UUID) -> None:
        """A run of the tenant ended or parked here: if others wait, they need not wait for the next look."""
        if tenant_id in self._waiting:
            self._wanted.set()

    async def work(self) -> None:
        """Look again and again until cancelled."""
        await come_round("admission", self._every, self.round, self._pause)

    async def _pause(self, seconds: float) -> None:
        """Shorter when a place was freed that somebody waits for."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), seconds)
        self._wanted.clear()

    async def round(self) -> int:
        """One look; how many runs got a place."""
        async with self._database.maintenance() as connection:
            waiting = await admission.waiting_tenants(connection)
            stopped = await admission.stopped_tenants(connection)
        self._waiting = frozenset(waiting)
        for tenant_id in stopped:
            await self._park(tenant_id)
        random.shuffle(waiting)
        admitted: list[tuple[RunRef, Given, bool]] = []
        try:
            for tenant_id in waiting:
                admitted += [(_ref(tenant_id, given), given, False) for given in await self._admit(tenant_id)]
        finally:  # whose turn has come is told so, also where the next tenant cannot be asked
            await self._tell(admitted)
        if time.monotonic() - self._overdue_at > OVERDUE_SECONDS:
            self._overdue_at = time.monotonic()
            await self._end_overdue()
        return len(admitted)

    async def _admit(self, tenant_id: UUID) -> list[Given]:
        try:
            async with admission.impatient(self._database, tenant_id) as connection:
                await admission.enter(connection, tenant_id)
                given = await admission.admit(connection, tenant_id, AT_ONCE)
        except Occupied:
            return []  # perhaps by a process that is frozen: the others' turn comes, and this one's again
        ADMITTED.inc(len(given))
        return given

    async def _park(self, tenant_id: UUID) -> None:
        """A suspension whose process did not get to the end of it."""
        try:
            async with admission.impatient(self._database, tenant_id) as connection:
                revoked = await admission.revoke(connection, tenant_id, AT_ONCE)
        except Occupied:
            return
        await self._tell([(_ref(tenant_id, given), given, True) for given in revoked])

    async def _tell(self, runs: list[tuple[RunRef, Given, bool]]) -> None:
        """What cannot be delivered now is left to the reconciler."""
        slots = asyncio.Semaphore(CALLS_AT_ONCE)

        async def one(ref: RunRef, given: Given, stop: bool) -> None:
            async with slots:
                if not stop:
                    await self._temporal.start_agent_run(ref, given.priority)
                if given.control_seq:
                    await self._temporal.wake(ref, Wake(given.control_seq, stop=stop))

        told = await asyncio.gather(*(one(*run) for run in runs), return_exceptions=True)
        for failure in told:
            if isinstance(failure, DependencyUnavailable):
                logger.warning("a start is left to the reconciler: %s", failure.detail)
            elif failure is not None:
                raise failure

    async def _end_overdue(self) -> None:
        """The deadline counts from the moment that a run was accepted, also where it never got its turn."""
        async with self._database.maintenance() as connection:
            overdue = await admission.overdue(connection, AT_ONCE)
        for run in overdue:
            end = EndRequest("deadline_exceeded", "The run's time (limits.seconds) ended before it got its turn.")
            await finish_one_of_many(self._bench, RunKey(*run), end)


def _ref(tenant_id: UUID, given: Given) -> RunRef:
    return RunRef(str(tenant_id), str(given.run_id), given.deadline_at.timestamp() if given.deadline_at else None)
