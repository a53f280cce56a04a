"""Works off erasures: what is left in the stores says how far one has come, so that any worker goes on with it.

A run's row goes last: while it is there, something may be left of it elsewhere. While a store is away an erasure waits.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import prometheus_client as metrics
from asyncpg.exceptions import ForeignKeyViolationError

from libs.database import audit, erasing, erasures, runs
from libs.database.engine import PLATFORM, Database, is_unavailable
from libs.database.erasures import ErasureRow
from libs.domain.errors import DependencyUnavailable
from libs.domain.texts import dump
from services.worker.erasing.stores import OBJECTS, Stores
from services.worker.rounds import come_round

logger = logging.getLogger(__name__)
LEASE_SECONDS = 60.0
RUNS, FILES, ENTRIES = 50, 200, 1000  # at a time
WAIT_SECONDS, LONGEST_WAIT = 2.0, 60.0
RETAIN_SECONDS = 60.0  # between looks for what tenants keep no longer
RETENTION_PAUSE = 3600.0  # between two erasures by retention of one tenant
SETTLED = timedelta(seconds=10)  # after which nobody is let in any longer who writes to the log of a deleted tenant
GONE_PATIENCE = 20  # looks, a third of a second apart, until what was deleted is no longer listed
FINISHED = metrics.Counter("agent_runtime_erasures_total", "Erasures that this worker finished", ["kind"])


class Waits(Exception):
    """An erasure cannot go on now; its text says for what it waits."""


class Eraser:
    """One per worker; any number may run, since an erasure is claimed by moving its next look."""

    def __init__(self, database: Database, stores: Stores, every: float) -> None:
        self._database = database
        self._stores = stores
        self._every = every
        self._retained_at = float("-inf")

    async def work(self) -> None:
        """Erase what is to be erased until cancelled."""
        await come_round("erasures", self._every, self.round)

    async def round(self) -> int:
        """Everything that is due; how many erasures were looked at."""
        if time.monotonic() - self._retained_at > RETAIN_SECONDS:
            self._retained_at = time.monotonic()
            async with self._database.maintenance() as connection:
                await erasures.retain(connection, RETENTION_PAUSE)
        looks = 0
        while True:
            async with self._database.maintenance() as connection:
                erasure = await erasures.claim(connection, LEASE_SECONDS)
            if erasure is None:
                return looks
            looks += 1
            await self._look(erasure)

    async def _look(self, erasure: ErasureRow) -> None:
        try:
            if await self._erase(erasure):
                FINISHED.labels(erasure.kind).inc()
        except (Waits, DependencyUnavailable) as reason:
            what = reason.dependency if isinstance(reason, DependencyUnavailable) else str(reason)
            logger.info("an erasure waits for %s", what, extra={"fields": {"erasure": str(erasure.id)}})
            await self._wait(erasure, what)
        except Exception as error:
            if is_unavailable(error):
                raise
            fields = {"erasure": str(erasure.id)}
            logger.error("an erasure failed: %s", type(error).__name__, exc_info=error, extra={"fields": fields})
            await self._wait(erasure, f"an error of ours ({type(error).__name__}); the workers' logs say more")

    async def _wait(self, erasure: ErasureRow, what: str) -> None:
        """The others go on; this one is looked at again, less often as time goes by."""
        seconds = min(WAIT_SECONDS * (1 + erasure.looks // 10), LONGEST_WAIT)
        async with self._database.maintenance() as connection:
            await erasures.wait(connection, erasure, what, seconds)

    async def _erase(self, erasure: ErasureRow) -> bool:
        """As far as it goes now; whether nothing is left."""
        if erasure.found is None:
            found = await self._count(erasure)
            async with self._database.maintenance() as connection:
                await erasures.note_found(connection, erasure, found)
        await self._end_runs(erasure)
        await self._erase_runs(erasure)
        if erasure.run_id is not None:
            await self._erase_traces(erasure, erasure.run_id)
        await self._erase_uploads(erasure)
        if erasure.kind == "subject":
            await self._erase_answers(erasure)
            await self._erase_scores(erasure)
        if erasure.kind == "tenant":
            await self._erase_tenant(erasure)
        left = await self._count(erasure)
        if not any(left.values()):
            await self._note(erasure)
        async with self._database.maintenance() as connection:
            return await erasures.note_checked(connection, erasure, left)

    async def _count(self, erasure: ErasureRow) -> dict[str, int]:
        """What there is of it, in every store that can be asked."""
        async with self._database.tenant(erasure.tenant_id) as connection:
            counts = Counter(await erasing.count(connection, erasure))
        if erasure.kind == "tenant":
            counts.update(await self._stores.count_tenant(erasure.tenant_id))
        elif erasure.run_id is not None:
            counts.update(await self._stores.count_runs(erasure.tenant_id, [erasure.run_id]))
        return dict(counts)

    async def _end_runs(self, erasure: ErasureRow) -> None:
        """Ask runs to end, and wait until they have: what still works would write again what is erased."""
        data = dump({"by": erasure.requested_by, "reason": "erasure"})
        while True:
            async with self._database.tenant(erasure.tenant_id) as connection:
                live = await erasing.uncancelled_runs(connection, erasure, RUNS)
                for run_id in live:
                    await runs.signal(connection, run_id, None, "cancel", data)
            if not live:
                break
        async with self._database.tenant(erasure.tenant_id) as connection:
            if await erasing.live_runs(connection, erasure, 1):
                raise Waits("runs to end")

    async def _erase_runs(self, erasure: ErasureRow) -> None:
        tenant_id = erasure.tenant_id
        while True:
            async with self._database.tenant(tenant_id) as connection:
                ended = await erasing.ended_runs(connection, erasure, RUNS)
                named = await erasing.objects_of_runs(connection, ended) if ended else []
            if not ended:
                return
            await self._note_removed(erasure, await self._stores.remove_runs(tenant_id, ended, named))
            await self._until_gone(tenant_id, ended)
            async with self._database.tenant(tenant_id) as connection:
                counts = await erasing.rows_of_runs(connection, ended)
            async with self._database.maintenance() as connection:
                deleted = await erasing.delete_runs(connection, tenant_id, ended)
                if not deleted:
                    raise Waits("runs that cannot be deleted")
                counts["database.runs"] = deleted
                await erasures.note_removed(connection, erasure, counts, LEASE_SECONDS)

    async def _erase_traces(self, erasure: ErasureRow, run_id: UUID) -> None:
        """What bears the name of a run whose row is gone."""
        counts = await self._stores.remove_runs(erasure.tenant_id, [run_id], [])
        if counts.total():
            await self._note_removed(erasure, counts)
            await self._until_gone(erasure.tenant_id, [run_id])

    async def _until_gone(self, tenant_id: UUID, ended: Sequence[UUID]) -> None:
        """Temporal deletes behind its answer."""
        for _ in range(GONE_PATIENCE):
            left = await self._stores.count_runs(tenant_id, ended)
            if not left.total():
                return
            await asyncio.sleep(1 / 3)
        raise Waits(", ".join(sorted(store for store, count in left.items() if count)))

    async def _erase_uploads(self, erasure: ErasureRow) -> None:
        while True:
            async with self._database.tenant(erasure.tenant_id) as connection:
                files = await erasing.uploads(connection, erasure, FILES)
            if not files:
                return
            removed = await self._stores.remove_objects([file.object_key for file in files])
            async with self._database.maintenance() as connection:
                deleted = await erasing.delete_uploads(connection, erasure.tenant_id, [file.id for file in files])
                if not deleted:
                    raise Waits("uploads that cannot be deleted")
                counts = {OBJECTS: removed, "database.artifacts": deleted}
                await erasures.note_removed(connection, erasure, counts, LEASE_SECONDS)

    async def _erase_answers(self, erasure: ErasureRow) -> None:
        while True:
            async with self._database.tenant(erasure.tenant_id) as connection:
                deleted = await erasing.delete_keys(connection, erasure, ENTRIES)
            if not deleted:
                return
            await self._note_removed(erasure, {"database.idempotency_keys": deleted})

    async def _erase_scores(self, erasure: ErasureRow) -> None:
        """Of anybody's runs: what a user said of them is the user's data."""
        while True:
            async with self._database.tenant(erasure.tenant_id) as connection:
                found = await erasing.scores_of(connection, erasure, ENTRIES)
            if not found:
                return
            async with self._database.maintenance() as connection:
                deleted = await erasing.delete_scores(connection, erasure.tenant_id, found)
                if not deleted:
                    raise Waits("scores that cannot be deleted")
                await erasures.note_removed(connection, erasure, {"database.scores": deleted}, LEASE_SECONDS)

    async def _erase_tenant(self, erasure: ErasureRow) -> None:
        """Everything else of a tenant, its audit log and at last its own row; the head of the log stays."""
        if erasure.accounts_at is None:  # what they are closed with is in these tables
            raise Waits("accounts at the issuer")
        tenant_id = erasure.tenant_id
        while (counts := await self._stores.remove_tenant(tenant_id)).total():
            await self._note_removed(erasure, counts)
            if not counts[OBJECTS]:
                await asyncio.sleep(1 / 3)  # Temporal lists for a moment what it has deleted
        async with self._database.tenant(tenant_id) as connection:
            await erasing.unpromote(connection)
            unsealed = await erasing.unsealed(connection)
        for table in erasing.rest_of_tenant():
            async with self._database.maintenance() as connection:
                deleted = await erasing.delete_table(connection, table, tenant_id)
                await erasures.note_removed(connection, erasure, {f"database.{table}": deleted}, LEASE_SECONDS)
        if unsealed or datetime.now(UTC) - erasure.created_at < SETTLED:
            raise Waits("the audit log to be sealed")
        deleted = 1
        while deleted:
            async with self._database.maintenance() as connection:
                deleted = await erasing.delete_audit(connection, tenant_id, ENTRIES)
                await erasures.note_removed(connection, erasure, {"database.audit_log": deleted}, LEASE_SECONDS)
        try:
            async with self._database.maintenance() as connection:
                deleted = await erasing.delete_tenant(connection, tenant_id)
                await erasures.note_removed(connection, erasure, {"database.tenants": deleted}, LEASE_SECONDS)
        except ForeignKeyViolationError:
            raise Waits("requests that were on their way") from None

    async def _note_removed(self, erasure: ErasureRow, counts: dict[str, int]) -> None:
        async with self._database.maintenance() as connection:
            await erasures.note_removed(connection, erasure, counts, LEASE_SECONDS)

    async def _note(self, erasure: ErasureRow) -> None:
        """One entry of the audit log: the tenant's, or the platform's when the tenant is gone."""
        whole = erasure.kind == "tenant"
        async with self._database.maintenance() as connection:
            removed = await erasures.removed_of(connection, erasure)
        async with self._database.tenant(erasure.tenant_id) as connection:
            head = await audit.head(connection) if whole else None
        after: dict[str, object] = {"removed": json.loads(removed)}
        if whole:
            kept = f"{head.seq}:{head.hash}" if head else None
            after |= {"tenant_id": erasure.tenant_id, "slug": erasure.slug, "head": kept}
        action, target = f"erase_{erasure.kind}", f"erasure/{erasure.id}"
        async with self._database.tenant(PLATFORM if whole else erasure.tenant_id) as connection:
            if not await audit.noted(connection, action, target):
                await audit.append(
                    connection,
                    actor=erasure.requested_by,
                    source=erasure.source,
                    action=action,
                    target=target,
                    after=after,
                )
