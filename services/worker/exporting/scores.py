"""Shows scores to LangFuse, each under its own id: one that is sent twice is one score there."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any
from uuid import UUID

from libs.clients.langfuse_scores import ScoreReceiver
from libs.clients.otlp import Away, Refused
from libs.database import refusals, score_showing
from libs.database.engine import Database, is_unavailable
from libs.database.projections import Scope
from libs.database.refusals import Retry
from libs.database.score_showing import Claimed, Showable
from libs.database.scores import ScoreRow
from libs.settings.traces import Destination, Destinations, TracesSettings
from services.worker.exporting.content import Content
from services.worker.exporting.destination import FIRST_PAUSE, Receiver
from services.worker.exporting.sending import LEASE_BESIDE_REQUEST, NAME, REFUSED
from services.worker.liveness import suspended_clock

logger = logging.getLogger(__name__)
KIND = "scores"
PASSED_OVER = 1000  # at a time
UNTRACED_PAUSE = 2.0  # seconds, until the run of a score is found by its projection
UNTRACED_AT_MOST = timedelta(minutes=10)  # then it is a run from before traces were sent


class ScoreSending:
    """What shows scores to one project. While it is away, one request at a time looks whether it is back."""

    def __init__(
        self, database: Database, settings: TracesSettings, destinations: Destinations, destination: Destination
    ) -> None:
        self._database = database
        self._destinations = destinations
        self._limit = settings.traces_attribute_bytes
        self._environment = destination.project.environment
        self._name = destination.name
        self._concurrency = settings.traces_concurrency
        self._longest_pause = settings.traces_retry_seconds
        self._lease = settings.traces_timeout_seconds + LEASE_BESIDE_REQUEST
        self._takes_scores = destination.project.kind == "langfuse"
        self._client: ScoreReceiver | None = None
        if self._takes_scores:
            self._client = ScoreReceiver(
                destination, settings.traces_timeout_seconds, settings.traces_concurrency, settings.traces_ca_file
            )
        self._failures = 0
        self._open_at = float("-inf")

    async def round(self, receiver: Receiver) -> int:
        """Everything that is due for the project while it takes it; how many scores were looked at."""
        if receiver.scope is None:
            return 0
        if not self._takes_scores:
            await pass_over(self._database, receiver.scope)
            return 0
        looked = 0
        while (room := self._room) and (work := await self._claimed(receiver.scope, room)):
            looked += len(work)
            for outcome in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
        return looked

    @property
    def _room(self) -> int:
        if time.monotonic() < self._open_at:
            return 0
        return 1 if self._failures else self._concurrency

    async def _claimed(self, scope: Scope, room: int) -> list[Any]:
        async with self._database.maintenance() as connection:
            claimed = await score_showing.claim(connection, scope, most=room, lease=self._lease)
            room -= len(claimed)
            retries = await refusals.claim(connection, KIND, scope, most=room, lease=self._lease) if room else []
        shows = [*(self._show(each) for each in claimed), *(self._show_again(each) for each in retries)]
        return [self._try(show) for show in shows]

    async def _try(self, show: Awaitable[None]) -> None:
        """Raises only when the database is away."""
        try:
            await show
        except Exception as error:
            if is_unavailable(error):
                raise
            logger.error("a score cannot be shown now: %s", type(error).__name__, exc_info=error)

    async def _show(self, claimed: Claimed) -> None:
        taken_at = suspended_clock()
        found = await self._read(claimed.tenant_id, claimed.run_id, claimed.id)
        if found is None:
            return
        if not found.traced or self._destinations.project_of(found.tenant) != self._name:
            await self._not_here(claimed, found)
            return
        if suspended_clock() - taken_at > LEASE_BESIDE_REQUEST:
            return  # frozen meanwhile: it is another worker's
        outcome = await self._sent(found)
        async with self._database.tenant(claimed.tenant_id) as connection:
            if isinstance(outcome, Away):
                pause = min(FIRST_PAUSE * 2 ** min(found.failures, 10), self._longest_pause)
                await score_showing.put_back(connection, claimed, max(pause, outcome.after or 0.0), failed=True)
                return
            if isinstance(outcome, Refused):
                await self._refused(connection, claimed.tenant_id, claimed.run_id, str(claimed.id), outcome)
            await score_showing.note_shown(connection, claimed)

    async def _not_here(self, claimed: Claimed, found: Showable) -> None:
        """The run has no trace yet, or never gets one; or its tenant has moved to another project just now."""
        old = not found.traced and found.now - found.score.created_at > UNTRACED_AT_MOST
        async with self._database.tenant(claimed.tenant_id) as connection:
            if old:
                await score_showing.note_shown(connection, claimed)
            else:
                await score_showing.put_back(connection, claimed, UNTRACED_PAUSE, failed=False)

    async def _show_again(self, retry: Retry) -> None:
        """What was refused, once more, since somebody asked for it."""
        found = await self._read(retry.tenant_id, retry.run_id, UUID(retry.item))
        if found is None or self._destinations.project_of(found.tenant) != self._name:
            return
        outcome = await self._sent(found)
        if isinstance(outcome, Away):
            return  # asked for still: it is claimed again
        async with self._database.tenant(retry.tenant_id) as connection:
            if isinstance(outcome, Refused):
                await self._refused(connection, retry.tenant_id, retry.run_id, retry.item, outcome)
            else:
                await refusals.remove(connection, retry.run_id, KIND, retry.item)

    async def _read(self, tenant_id: UUID, run_id: UUID, id_: UUID) -> Showable | None:
        async with self._database.tenant(tenant_id) as connection:
            return await score_showing.read(connection, run_id, id_, NAME)

    async def _sent(self, found: Showable) -> object:
        if self._client is None:
            raise ValueError("this project takes no scores")
        content = Content(self._destinations.redaction_of(found.tenant), self._limit)
        outcome = await self._client.send(body(found.score, content, self._environment))
        if not isinstance(outcome, Away):
            self._failures = 0
            return outcome
        self._failures += 1
        pause = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 10), self._longest_pause)
        self._open_at = time.monotonic() + max(pause * random.uniform(0.7, 1.0), outcome.after or 0.0)  # noqa: S311
        logger.warning("scores to %s wait: it %s", self._name, outcome.reason)
        return outcome

    async def _refused(self, connection: Any, tenant_id: UUID, run_id: UUID, item: str, outcome: Refused) -> None:
        REFUSED.labels(KIND).inc()
        logger.warning("a score to %s: refused with %d", self._name, outcome.status, extra={"run_id": str(run_id)})
        await refusals.add(
            connection,
            tenant_id,
            run_id,
            KIND,
            item,
            project=self._name,
            status=outcome.status,
            reason=outcome.reason,
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


async def pass_over(database: Database, scope: Scope) -> None:
    """These tenants' scores are shown to nobody."""
    async with database.maintenance() as connection:
        await score_showing.pass_over(connection, scope, most=PASSED_OVER)
        await refusals.give_up(connection, KIND, scope)


def body(score: ScoreRow, content: Content, environment: str) -> dict[str, Any]:
    """What LangFuse is told. A comment is content; so is a category, which may be any text."""
    kind = "BOOLEAN" if score.truth is not None else "NUMERIC" if score.number is not None else "CATEGORICAL"
    value: float | str = score.number if score.number is not None else float(score.truth or False)
    if score.category is not None:
        value = content.text(score.category)
    told = {
        "id": str(score.id),
        "traceId": score.run_id.hex,
        "name": score.name,
        "value": value,
        "dataType": kind,
        "environment": environment,
        "timestamp": score.created_at.isoformat(),  # with the id it says which score this is
        "metadata": {"by": score.created_by},
    }
    return told if score.comment is None else {**told, "comment": content.text(score.comment)}
