"""Sends what is new of one run: spans from its log, request by request; after each its position moves.

Who dies between the two leaves the position where it was: the same spans go out again, under the same ids.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

import prometheus_client as metrics
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clients.otlp import Away, Refused, Sent
from libs.database import projections, refusals
from libs.database.engine import Database, is_unavailable
from libs.database.projections import Position, TracedRun
from libs.database.refusals import Retry
from libs.domain.errors import DependencyUnavailable
from libs.domain.traces import Span
from libs.settings.traces import NO_PROJECT, Destinations, TracesSettings
from services.worker.exporting.content import Content
from services.worker.exporting.destination import Receiver
from services.worker.exporting.fold import Fold, Shown
from services.worker.exporting.reading import PAGE, Reader
from services.worker.liveness import suspended_clock

logger = logging.getLogger(__name__)
NAME = KIND = "traces"
KEPT = 128  # folds of runs that go on
LEASE_BESIDE_REQUEST = 20.0  # seconds
ELSEWHERE_PAUSE = 1.0  # seconds, until who uses which project is read again
FIRST_PAUSE = 1.0  # seconds, for a run that cannot be sent now; then longer each time
REFUSED = metrics.Counter("agent_runtime_projection_refused_total", "Items that an observer refused", ["kind"])


class Overtaken(Exception):
    """Another worker has the run now, or it is being erased."""


@dataclass(frozen=True)
class Batch:
    """What one request says: the spans that the events after `after` and up to `last` end."""

    after: int
    last: int
    spans: list[Span]
    ended: bool  # the run, with these events or before
    more: bool  # there may be more events

    @property
    def item(self) -> str:
        return f"{self.after + 1}-{self.last}"


class Sending:
    """Sends runs, one request of a run at a time."""

    def __init__(
        self, database: Database, reader: Reader, settings: TracesSettings, destinations: Destinations
    ) -> None:
        self._database = database
        self._reader = reader
        self._settings = settings
        self._destinations = destinations
        self._folds: OrderedDict[UUID, Fold] = OrderedDict()
        self.lease = settings.traces_timeout_seconds + LEASE_BESIDE_REQUEST

    @property
    def known(self) -> list[UUID]:
        """Runs with which it can go on without reading their logs again."""
        return list(self._folds)

    async def send_news(self, receiver: Receiver, position: Position) -> None:
        """Everything of a run that was not sent yet. Raises only when the database is away."""
        try:
            await self._send_news(receiver, position)
        except Overtaken:
            self._folds.pop(position.run_id, None)
        except Exception as error:
            if is_unavailable(error):
                raise
            _tell(position.run_id, error)
            await self._put_back(position)

    async def _send_news(self, receiver: Receiver, position: Position) -> None:
        taken_at = suspended_clock()
        run = await self._reader.run(position.tenant_id, position.run_id)
        if run is None or not await self._is_for(receiver, run, position):
            return
        early = receiver.shows_early and position.seq == 0
        if position.corrected:
            position = await self._begin_again(receiver, position)
        fold = await self._fold(receiver, run, position)
        more = True
        while more:
            batch = await self._batch(fold, position.tenant_id, position.seq)
            spans = batch.spans
            if early and not batch.ended:
                spans = [fold.root(), *spans]
            if suspended_clock() - taken_at > self.lease - self._settings.traces_timeout_seconds:
                raise Overtaken  # frozen meanwhile: what it would send may be older than what was sent
            outcome = await self._sent(receiver, position, spans)
            if outcome is None:
                return
            more, early = batch.more and not batch.ended, False
            pause = self.lease if more else self._settings.traces_pause_seconds
            await self._advance(receiver, position, batch, outcome, pause)
            taken_at, position = suspended_clock(), position._replace(seq=batch.last)
        self._keep(fold, ended=batch.ended)

    async def _is_for(self, receiver: Receiver, run: TracedRun, position: Position) -> bool:
        """Whether the run's tenant uses this project: who does is read anew now and then, and may have changed."""
        project = self._destinations.project_of(run.tenant)
        if project == receiver.name:
            return True
        nowhere = project == NO_PROJECT
        seq = run.last_seq if nowhere else position.seq
        async with self._database.tenant(position.tenant_id) as connection:
            await projections.advance(connection, NAME, position, seq, finished=nowhere, pause=ELSEWHERE_PAUSE)
        return False

    async def _begin_again(self, receiver: Receiver, position: Position) -> Position:
        """What was sent has changed: whoever takes a span twice gets all of them once more."""
        seq = 0 if receiver.shows_early else position.seq
        async with self._database.tenant(position.tenant_id) as connection:
            if not await projections.repeat(connection, NAME, position, seq):
                raise Overtaken
            if not seq:
                await refusals.remove(connection, position.run_id, KIND)  # all of it is sent again
        return position._replace(seq=seq)

    async def _fold(self, receiver: Receiver, run: TracedRun, position: Position) -> Fold:
        """The run up to its position."""
        fold = self._folds.pop(position.run_id, None)
        if fold is None or fold.seq > position.seq:
            fold = await self._new_fold(receiver, run, position.run_id)
        await self._catch_up(fold, position.tenant_id, position.seq)
        return fold

    async def _new_fold(self, receiver: Receiver, run: TracedRun, run_id: UUID) -> Fold:
        content = Content(self._destinations.redaction_of(run.tenant), self._settings.traces_attribute_bytes)
        return Fold(await self._reader.about(run_id, run, content, receiver.project.environment), content)

    async def _catch_up(self, fold: Fold, tenant_id: UUID, seq: int) -> None:
        while fold.seq < seq:
            page = await self._page(fold, tenant_id)
            if not page:
                raise Overtaken  # the run is being erased
            for event in page:
                if event.seq <= seq:
                    fold.take(event)

    async def _page(self, fold: Fold, tenant_id: UUID) -> list[Shown]:
        return await self._reader.events(tenant_id, fold.about.run_id, fold.seq, fold.content)

    async def _batch(self, fold: Fold, tenant_id: UUID, after: int, last: int | None = None) -> Batch:
        """As much as one request may say; with `last`, of events up to that one."""
        spans: list[Span] = []
        size, more = 0, True
        while more and size < self._settings.traces_request_bytes:
            page = await self._page(fold, tenant_id)
            more = len(page) == PAGE
            for number, event in enumerate(page):
                if last is not None and event.seq > last:
                    more = False
                    break
                found = fold.take(event)
                spans += found
                size += sum(span.size for span in found)
                if size >= self._settings.traces_request_bytes:
                    more = more or number + 1 < len(page)
                    break
        return Batch(after, fold.seq, await self._reader.priced(tenant_id, fold.about.run_id, spans), fold.over, more)

    async def _sent(self, receiver: Receiver, position: Position, spans: list[Span]) -> Sent | Refused | None:
        """What became of them; None: the receiver is away, and the run is put back."""
        outcome = await receiver.send(spans) if spans else Sent()
        if not isinstance(outcome, Away):
            return outcome
        logger.warning("traces to %s wait: it %s", receiver.name, outcome.reason)
        await self._put_back(position, outcome.after or 0.0)
        return None

    async def _keep_refused(
        self, connection: AsyncConnection, receiver: Receiver, about: Position | Retry, item: str, outcome: Refused
    ) -> None:
        REFUSED.labels(KIND).inc()
        extra = {"run_id": str(about.run_id)}
        logger.warning("traces to %s: refused with %d", receiver.name, outcome.status, extra=extra)
        await refusals.add(
            connection,
            about.tenant_id,
            about.run_id,
            KIND,
            item,
            project=receiver.name,
            status=outcome.status,
            reason=outcome.reason,
        )

    async def _advance(
        self, receiver: Receiver, position: Position, batch: Batch, outcome: Sent | Refused, pause: float
    ) -> None:
        """A refusal is kept with the move or not at all: what is sent again may be of more events, and be taken."""
        async with self._database.tenant(position.tenant_id) as connection:
            if isinstance(outcome, Refused):
                await self._keep_refused(connection, receiver, position, batch.item, outcome)
            if not await projections.advance(connection, NAME, position, batch.last, finished=batch.ended, pause=pause):
                raise Overtaken

    async def _put_back(self, position: Position, after: float = 0.0) -> None:
        pause = min(FIRST_PAUSE * 2 ** min(position.failures, 10), self._settings.traces_retry_seconds)
        async with self._database.tenant(position.tenant_id) as connection:
            await projections.put_back(connection, NAME, position, max(pause, after))

    def _keep(self, fold: Fold, *, ended: bool) -> None:
        if ended:
            return
        self._folds[fold.about.run_id] = fold
        while len(self._folds) > KEPT:
            self._folds.popitem(last=False)

    # -- what was refused --------------------------------------------------------------------------------------------

    async def send_again(self, receiver: Receiver, retry: Retry) -> None:
        """What was refused, once more, since somebody asked for it. Raises only when the database is away."""
        try:
            await self._send_again(receiver, retry)
        except Overtaken:
            return
        except Exception as error:
            if is_unavailable(error):
                raise
            _tell(retry.run_id, error)

    async def _send_again(self, receiver: Receiver, retry: Retry) -> None:
        run = await self._reader.run(retry.tenant_id, retry.run_id)
        if run is None or self._destinations.project_of(run.tenant) != receiver.name:
            return
        after, last = _range(retry.item)
        fold = await self._new_fold(receiver, run, retry.run_id)
        await self._catch_up(fold, retry.tenant_id, after)
        more = True
        while more and fold.seq < last:
            batch = await self._batch(fold, retry.tenant_id, fold.seq, last)
            more = batch.more
            outcome = await receiver.send(batch.spans) if batch.spans else None
            if isinstance(outcome, Away):
                return  # asked for still: it is claimed again
            if isinstance(outcome, Refused):
                async with self._database.tenant(retry.tenant_id) as connection:
                    await self._keep_refused(connection, receiver, retry, retry.item, outcome)
                return
        async with self._database.tenant(retry.tenant_id) as connection:
            await refusals.remove(connection, retry.run_id, KIND, retry.item)


def _range(item: str) -> tuple[int, int]:
    """The events that a refusal is about: after the first, up to the second number."""
    first, _, last = item.partition("-")
    return int(first) - 1, int(last)


def _tell(run_id: UUID, error: Exception) -> None:
    expected = isinstance(error, DependencyUnavailable)
    logger.log(
        logging.WARNING if expected else logging.ERROR,
        "a trace cannot be made now: %s",
        type(error).__name__,
        exc_info=None if expected else error,
        extra={"run_id": str(run_id)},
    )
