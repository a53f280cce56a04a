"""Finds runs that have news for their traces and gives them to whoever sends them; nobody waits for it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from uuid import UUID

import prometheus_client as metrics

from libs.clients.object_store import ObjectStore
from libs.database import projections, refusals
from libs.database.engine import Database
from libs.database.projections import Scope
from libs.observability.metrics import PROJECTION_LAG
from libs.settings.traces import NO_PROJECT, Destinations, TracesSettings
from services.worker.exporting.destination import Receiver
from services.worker.exporting.reading import Reader
from services.worker.exporting.scores import ScoreSending, pass_over
from services.worker.exporting.sending import KIND, NAME, Sending
from services.worker.rounds import come_round

NEW_RUNS = 2000  # at a time
LAG_SECONDS = 10.0
LOOKS_OF_GRACE = 2.0  # that a run waits for the worker that showed it last
COMPARING_SHARE = 20  # times what a comparison of all open runs took passes until the next one
BEHIND = metrics.Gauge("agent_runtime_projection_behind_runs", "Runs with events not projected yet", ["projection"])


class Exporter:
    """One per worker; any number may run, since a run is claimed by moving its next time."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        settings: TracesSettings,
        destinations: Destinations,
    ) -> None:
        self._database = database
        self._settings = settings
        self._destinations = destinations
        self._compare_at = float("-inf")
        self._shown: Scope | None = None  # the tenants that have a project; None: not known yet
        self._sending = Sending(database, Reader(database, objects), settings, destinations)
        self.receivers = [Receiver(each, settings) for each in destinations.projects.values()]
        self._scores = {
            name: ScoreSending(database, settings, destinations, each) for name, each in destinations.projects.items()
        }

    async def work(self) -> None:
        """Send what there is until cancelled."""
        every = self._settings.traces_look_seconds
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(come_round("traces: new runs", every, self.discover))
                group.create_task(come_round("traces: lag", LAG_SECONDS, self.measure))
                for receiver in self.receivers:
                    show = partial(self._scores[receiver.name].round, receiver)
                    group.create_task(come_round(f"scores to {receiver.name}", every, show))
                    group.create_task(come_round(f"traces to {receiver.name}", every, partial(self.round, receiver)))
        finally:
            await self.close()

    async def close(self) -> None:
        for receiver in self.receivers:
            with suppress(Exception):
                await receiver.close()
            with suppress(Exception):
                await self._scores[receiver.name].close()

    async def discover(self) -> None:
        """Give new runs a position, and look which of the known ones have news."""
        said = self._destinations
        async with self._database.maintenance() as connection:
            tenants = await projections.tenants_named(connection, list(said.tenants))
            await projections.begin(connection, NAME)
        projects = {tenant.id: said.project_of(tenant.slug) for tenant in tenants}
        for receiver in self.receivers:
            receiver.scope = _scope(
                receiver.name == said.default, {id_: name == receiver.name for id_, name in projects.items()}
            )
        self._shown = _scope(said.default != NO_PROJECT, {id_: name != NO_PROJECT for id_, name in projects.items()})
        others = _others(self._shown)
        await pass_over(self._database, others)
        every = self._settings.traces_look_seconds / 2  # whoever looks, looks for all workers
        async with self._database.maintenance() as connection:
            await refusals.give_up(connection, KIND, others)
            found = await projections.discover(connection, NAME, self._shown, most=NEW_RUNS, every=every)
        if found is not None and time.monotonic() >= self._compare_at:
            began = time.monotonic()
            async with self._database.maintenance() as connection:
                await projections.take_up(connection, NAME)
            self._compare_at = time.monotonic() + COMPARING_SHARE * (time.monotonic() - began)

    async def measure(self) -> None:
        """How far behind the traces are of all tenants that have a project."""
        if self._shown is None:
            return
        async with self._database.maintenance() as connection:
            lag = await projections.lag(connection, NAME, self._shown)
        PROJECTION_LAG.labels(NAME).set(lag.seconds)
        BEHIND.labels(NAME).set(lag.runs)

    async def round(self, receiver: Receiver) -> int:
        """Everything that is due for a project while it takes it; how many runs were looked at."""
        looked = 0
        grace = LOOKS_OF_GRACE * self._settings.traces_look_seconds
        while receiver.scope is not None and (room := receiver.room):
            lease = self._sending.lease
            async with self._database.maintenance() as connection:
                claimed = await projections.claim(
                    connection, NAME, receiver.scope, most=room, lease=lease, known=self._sending.known, grace=grace
                )
                room -= len(claimed)
                retries = await refusals.claim(connection, KIND, receiver.scope, most=room, lease=lease) if room else []
            if not claimed and not retries:
                break
            looked += len(claimed) + len(retries)
            work = [self._sending.send_news(receiver, position) for position in claimed]
            work += [self._sending.send_again(receiver, retry) for retry in retries]
            for outcome in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
        return looked


def _scope(by_default: bool, tenants: dict[UUID, bool]) -> Scope:
    """Tenants of which something holds: those of which it is said, or all but those of which it is denied."""
    if by_default:
        return Scope(None, [id_ for id_, holds in tenants.items() if not holds])
    return Scope([id_ for id_, holds in tenants.items() if holds], [])


def _others(scope: Scope) -> Scope:
    """The tenants that a scope leaves out."""
    return Scope(scope.without, []) if scope.only is None else Scope(None, scope.only)
