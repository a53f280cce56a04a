"""The keys that live events leave in Redis: found and deleted when a run or a tenant is erased."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from libs.clients.event_stream import CONNECT_SECONDS, FAILURES, connect
from libs.contracts.live import delta_stream
from libs.domain.errors import DependencyUnavailable
from libs.settings.redis import RedisSettings

SCANNED = 1000  # keys looked at in a call


class LiveKeys:
    """Unlike live events themselves, none of this may be dropped: what fails is `DependencyUnavailable`."""

    def __init__(self, settings: RedisSettings) -> None:
        self._client = connect(settings)

    async def of_runs(self, tenant_id: UUID, runs: Sequence[UUID]) -> list[bytes]:
        """The keys of these runs that are there."""
        keys = [delta_stream(tenant_id, run).encode() for run in runs]
        async with _answering():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.exists(key)
            there = await pipeline.execute()
        return [key for key, found in zip(keys, there, strict=True) if found]

    async def of_tenant(self, tenant_id: UUID) -> list[bytes]:
        """Every key of a tenant."""
        found: set[bytes] = set()
        cursor = 0
        while True:
            async with _answering():
                answer: Any = await self._client.scan(cursor, match=f"t:{tenant_id}:*", count=SCANNED)
            cursor = int(answer[0])
            found.update(answer[1])
            if cursor == 0:
                return sorted(found)

    async def delete(self, keys: Sequence[bytes]) -> int:
        """How many were there."""
        if not keys:
            return 0
        async with _answering():
            return int(await self._client.unlink(*keys))

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            yield
    except FAILURES as error:
        raise DependencyUnavailable("redis", f"Redis does not answer: {type(error).__name__}.") from error
