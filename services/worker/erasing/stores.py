"""What a run or a tenant has outside the database: counted and removed, in objects, Redis and Temporal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from libs.clients.live_keys import LiveKeys
from libs.clients.object_store import ObjectStore
from libs.clients.temporal import Execution, Temporal

OBJECTS, UPLOADS, KEYS, WORKFLOWS = "objects", "uploads", "redis.keys", "temporal.workflows"
AT_ONCE = 8
PAGE = 1000  # objects


class Stores:
    """Every call may raise `DependencyUnavailable`; what was removed stays removed, and is not counted again."""

    def __init__(self, objects: ObjectStore, keys: LiveKeys, temporal: Temporal) -> None:
        self._objects = objects
        self._keys = keys
        self._temporal = temporal

    async def count_runs(self, tenant_id: UUID, runs: Sequence[UUID]) -> Counter[str]:
        """What there is of these runs under their own names."""
        counts: Counter[str] = Counter()
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(run_id: UUID) -> None:
            async with slots:
                prefix = f"{tenant_id}/{run_id}/"
                objects = await self._objects.listed(prefix)
                uploads = await self._objects.unfinished_uploads(prefix)
                executions = await self._temporal.executions(tenant_id, run_id)
                counts.update({OBJECTS: len(objects), UPLOADS: len(uploads), WORKFLOWS: len(executions)})

        await asyncio.gather(*(one(run_id) for run_id in runs))
        counts[KEYS] = len(await self._keys.of_runs(tenant_id, runs))
        return counts

    async def remove_runs(self, tenant_id: UUID, runs: Sequence[UUID], named: Sequence[str]) -> Counter[str]:
        """Remove it, and the objects that rows of the runs name."""
        counts: Counter[str] = Counter()
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(run_id: UUID) -> None:
            async with slots:
                # First what could still write.
                ended = await self._delete_executions(await self._temporal.executions(tenant_id, run_id))
                counts.update({WORKFLOWS: ended})
                counts.update(await self._remove_below(f"{tenant_id}/{run_id}/"))

        await asyncio.gather(*(one(run_id) for run_id in runs))
        own = tuple(f"{tenant_id}/{run_id}/" for run_id in runs)
        counts[OBJECTS] += await self.remove_objects([key for key in named if not key.startswith(own)])
        counts[KEYS] += await self._keys.delete(await self._keys.of_runs(tenant_id, runs))
        return counts

    async def count_tenant(self, tenant_id: UUID) -> Counter[str]:
        """What there is of a tenant; of many things no more than some."""
        return Counter(
            {
                OBJECTS: len(await self._objects.listed(f"{tenant_id}/")),
                UPLOADS: len(await self._objects.unfinished_uploads(f"{tenant_id}/")),
                KEYS: len(await self._keys.of_tenant(tenant_id)),
                WORKFLOWS: len(await self._temporal.executions(tenant_id)),
            }
        )

    async def remove_tenant(self, tenant_id: UUID) -> Counter[str]:
        """Remove everything that has the tenant in its name; executions in batches, so call it until it is zero."""
        counts: Counter[str] = Counter()
        counts[WORKFLOWS] = await self._delete_executions(await self._temporal.executions(tenant_id))
        counts.update(await self._remove_below(f"{tenant_id}/"))
        counts[KEYS] = await self._keys.delete(await self._keys.of_tenant(tenant_id))
        return counts

    async def remove_objects(self, keys: Sequence[str]) -> int:
        await self._objects.delete(keys)
        return len(keys)

    async def _remove_below(self, prefix: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        for upload in await self._objects.unfinished_uploads(prefix):
            await self._objects.give_up_upload(upload)
            counts[UPLOADS] += 1
        while found := await self._objects.listed(prefix, most=PAGE):
            counts[OBJECTS] += await self.remove_objects([each.key for each in found])
        return counts

    async def _delete_executions(self, executions: Sequence[Execution]) -> int:
        for execution in executions:
            await self._temporal.delete(execution)
        return len(executions)
