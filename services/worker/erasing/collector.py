"""Collects objects that nobody refers to: of steps whose commit never came, of uploads that were never recorded.

Only what is a day old is looked at, and nothing of a run that may still write.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import prometheus_client as metrics
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clients.object_store import ObjectStore
from libs.database import erasing
from libs.database.engine import Database
from services.worker.rounds import come_round

logger = logging.getLogger(__name__)
AGE = timedelta(hours=24)
LEASE_SECONDS = 60.0
PAGE = 1000  # objects
BETWEEN_PAGES, BETWEEN_SWEEPS = 1.0, 3600.0  # seconds
COLLECTED = metrics.Counter("agent_runtime_objects_collected_total", "Objects deleted because nobody refers to them")


class Collector:
    """One per worker; one at a time goes on, page by page, with a search that all share."""

    def __init__(self, database: Database, objects: ObjectStore, every: float, age: timedelta = AGE) -> None:
        self._database = database
        self._objects = objects
        self._every = every
        self._age = age

    async def work(self) -> None:
        """Search until cancelled."""
        await come_round("search for lost objects", self._every, self.round)

    async def round(self) -> int:
        """One page, unless another worker has it; how many objects were deleted."""
        async with self._database.maintenance() as connection:
            after = await erasing.claim_sweep(connection, LEASE_SECONDS)
        if after is None:
            return 0
        page = await self._objects.listed("", after, PAGE)
        before = datetime.now(UTC) - self._age
        lost = await self._lost([each.key for each in page if each.modified_at < before])
        if lost:
            await self._objects.delete(lost)
            logger.info("%d objects were deleted that nobody refers to", len(lost))
            COLLECTED.inc(len(lost))
        finished = len(page) < PAGE
        if finished:
            await self._give_up_uploads(before)
        async with self._database.maintenance() as connection:
            pause = BETWEEN_SWEEPS if finished else BETWEEN_PAGES
            await erasing.note_sweep(connection, "" if finished else page[-1].key, len(lost), pause)
        return len(lost)

    async def _lost(self, keys: Sequence[str]) -> list[str]:
        by_tenant: dict[UUID, list[tuple[str, str]]] = defaultdict(list)
        for key in keys:
            tenant, _, rest = key.partition("/")
            tenant_id = _id(tenant)
            if tenant_id is not None and rest:  # anything else in the bucket is not ours
                by_tenant[tenant_id].append((rest.partition("/")[0], key))
        lost: list[str] = []
        for tenant_id, found in by_tenant.items():
            async with self._database.tenant(tenant_id) as connection:
                lost += await _lost_of_tenant(connection, found)
        return lost

    async def _give_up_uploads(self, before: datetime) -> None:
        for upload in await self._objects.unfinished_uploads():
            if upload.begun_at < before and _id(upload.key.partition("/")[0]) is not None:
                await self._objects.give_up_upload(upload)


async def _lost_of_tenant(connection: AsyncConnection, found: Sequence[tuple[str, str]]) -> list[str]:
    """Of objects by what their key begins with below the tenant, those that no row names."""
    inputs = [key for place, key in found if place == "inputs"]
    uploads = [key for place, key in found if place == "uploads"]
    of_runs = [(run_id, key) for place, key in found if (run_id := _id(place)) is not None]
    kept = await erasing.inputs_named(connection, inputs) if inputs else set()
    kept |= await erasing.uploads_named(connection, uploads) if uploads else set()
    writing: set[UUID] = set()
    if of_runs:
        ids = sorted({run_id for run_id, _ in of_runs})
        writing = await erasing.unended(connection, ids)
        kept |= set(await erasing.objects_of_runs(connection, ids))
    lost = [key for key in (*inputs, *uploads) if key not in kept]
    return lost + [key for run_id, key in of_runs if run_id not in writing and key not in kept]


def _id(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
