"""Works off re-ratings, tenant by tenant and a batch of calls at a time; any worker goes on where another one died."""

from __future__ import annotations

import logging
from uuid import UUID

from libs.database import re_ratings
from libs.database.engine import Database
from libs.database.re_ratings import ReRatingRow
from services.worker.rounds import come_round

logger = logging.getLogger(__name__)
EVERY_SECONDS = 2.0
LEASE_SECONDS = 30.0
CALLS = 1000  # looked at, at a time


class ReRater:
    """One per worker; any number may run, since a re-rating is claimed by moving its next look."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def work(self) -> None:
        """Price again what is to be priced again, until cancelled."""
        await come_round("re-ratings", EVERY_SECONDS, self.round)

    async def round(self) -> int:
        """Everything that is due; how many re-ratings were finished."""
        finished = 0
        while True:
            async with self._database.maintenance() as connection:
                claimed = await re_ratings.claim(connection, LEASE_SECONDS)
            if claimed is None:
                return finished
            finished += await self._price(claimed)

    async def _price(self, work: ReRatingRow) -> bool:
        """To its end, or until another worker has taken it over."""
        tenant_id = work.at_tenant
        while True:
            tenant_id = tenant_id or await self._next_tenant(work)
            if tenant_id is None:
                return True
            async with self._database.tenant(tenant_id) as connection:
                done = await re_ratings.correct(connection, tenant_id, work, CALLS)
            async with self._database.maintenance() as connection:
                noted = await re_ratings.note(connection, work, tenant_id, done, LEASE_SECONDS)
            if noted is None:
                return False
            work = noted
            if not done.more:
                tenant_id = None

    async def _next_tenant(self, work: ReRatingRow) -> UUID | None:
        """None when there is no other one, and so the end."""
        async with self._database.maintenance() as connection:
            tenant_id = await re_ratings.next_tenant(connection, work)
            if tenant_id is None:
                await re_ratings.finish(connection, work.id)
                logger.info("a re-rating is done", extra={"fields": {"re_rating": str(work.id)}})
        return tenant_id
