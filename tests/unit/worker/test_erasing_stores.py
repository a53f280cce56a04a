"""What runs have in the stores is counted, however many are asked for at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID, uuid4

from libs.clients.live_keys import LiveKeys
from libs.clients.object_store import ObjectStore
from libs.clients.temporal import Temporal
from services.worker.erasing.stores import OBJECTS, WORKFLOWS, Stores

RUNS = [uuid4() for _ in range(20)]


class Slow:
    """Stores that have two objects and an execution of each run, and answer when others have asked, too."""

    def __init__(self) -> None:
        self.objects = {f"t/{run}/{number}" for run in RUNS for number in range(2)}
        self.executions_of = {run: [run] for run in RUNS}

    async def listed(self, prefix: str, after: str = "", most: int | None = None) -> list[Any]:
        await asyncio.sleep(0)
        run = prefix.split("/")[1]
        return [Object(key) for key in sorted(self.objects) if key.split("/")[1] == run]

    async def unfinished_uploads(self, prefix: str = "") -> list[Any]:
        await asyncio.sleep(0)
        return []

    async def executions(self, tenant_id: UUID, run_id: UUID) -> list[UUID]:
        await asyncio.sleep(0)
        return list(self.executions_of[run_id])

    async def delete(self, what: Sequence[str] | UUID) -> int:
        await asyncio.sleep(0)
        if isinstance(what, UUID):
            self.executions_of[what].clear()
        else:
            self.objects -= set(what)
        return 0

    async def of_runs(self, tenant_id: UUID, runs: Sequence[UUID]) -> list[str]:
        return []


class Object:
    def __init__(self, key: str) -> None:
        self.key = key


async def test_of_many_runs_everything_is_counted_and_removed() -> None:
    slow = Slow()
    stores = Stores(cast(ObjectStore, slow), cast(LiveKeys, slow), cast(Temporal, slow))
    everything = {OBJECTS: 40, WORKFLOWS: 20}
    assert {name: count for name, count in (await stores.count_runs(uuid4(), RUNS)).items() if count} == everything
    assert {name: count for name, count in (await stores.remove_runs(uuid4(), RUNS, [])).items() if count} == everything
    assert not (await stores.count_runs(uuid4(), RUNS)).total()
