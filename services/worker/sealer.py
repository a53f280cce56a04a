"""Seals the audit log: entries are appended without a place, and get it here, in a chain of hashes per tenant."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from uuid import UUID

import prometheus_client as metrics

from libs.database import audit_chain
from libs.database.audit import AuditRow
from libs.database.audit_chain import Head, Seal, SealsLost
from libs.database.engine import Database
from libs.domain.audit import entry_hash
from libs.observability.metrics import PROJECTION_LAG
from services.worker.rounds import come_round

logger = logging.getLogger(__name__)
TENANTS = 100  # at a time
BATCH = 500  # entries
SEALED = metrics.Counter("agent_runtime_audit_sealed_total", "Entries of the audit log that this worker sealed")


class Sealer:
    """One per worker; any number may run, since the first to move a tenant's head seals, and nobody waits for it."""

    def __init__(self, database: Database, every: float) -> None:
        self._database = database
        self._every = every
        self._whole_at = time.monotonic()
        PROJECTION_LAG.labels("audit_chain").set_function(lambda: time.monotonic() - self._whole_at)

    async def work(self) -> None:
        """Seal what there is until cancelled."""
        await come_round("sealing of the audit log", self._every, self._seal_all)

    async def _seal_all(self) -> None:
        while await self.round():
            pass

    async def round(self) -> bool:
        """One batch of each tenant; whether there may be more."""
        async with self._database.maintenance() as connection:
            waiting = await audit_chain.waiting(connection, TENANTS)
        if not waiting:
            self._whole_at = time.monotonic()
        sealed = [await self._sealed(tenant_id) for tenant_id in waiting]
        return BATCH in sealed or (len(waiting) == TENANTS and any(sealed))

    async def _sealed(self, tenant_id: UUID) -> int:
        try:
            return await self.seal(tenant_id)
        except SealsLost as error:
            # Somebody changed the log by other means. The others' go on; `audit verify` says what is wrong with it.
            logger.error("the audit log of tenant %s cannot be sealed: %s", tenant_id, error)
            return 0

    async def seal(self, tenant_id: UUID) -> int:
        """The next entries of a tenant; how many were sealed here."""
        async with self._database.tenant(tenant_id) as connection:
            head, entries = await audit_chain.unsealed(connection, tenant_id, BATCH)
        if not entries:
            return 0
        async with self._database.maintenance() as connection:
            if not await audit_chain.seal(connection, tenant_id, head, linked(head, entries)):
                return 0
        SEALED.inc(len(entries))
        return len(entries)


def linked(head: Head, entries: Sequence[AuditRow]) -> list[Seal]:
    """The places of entries that follow a head."""
    seals: list[Seal] = []
    seq, previous = head
    for entry in entries:
        seq += 1
        following = entry_hash(previous, entry.hashed(seq))
        seals.append(Seal(entry.id, seq, previous, following))
        previous = following
    return seals
