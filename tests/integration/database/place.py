"""Every store with something of a run in it, and an eraser that works in them."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

from libs.clients.event_stream import EventStream
from libs.clients.live_keys import LiveKeys
from libs.clients.object_store import ObjectStore
from libs.clients.temporal import Temporal
from libs.contracts.live import Delta
from libs.contracts.workflow import RunRef
from libs.database import artifacts, erasures, tenants
from libs.database.engine import Database
from libs.database.erasures import ErasureRow
from libs.database.steps import Change
from libs.domain.events import END, NewEvent
from libs.domain.tools import NewArtifact
from libs.settings.environment import Environment
from libs.settings.object_store import ObjectStoreSettings
from libs.settings.redis import RedisSettings
from libs.settings.temporal import TemporalSettings
from services.worker.erasing.eraser import Eraser
from services.worker.erasing.stores import Stores
from tests.fixtures.stack import TestServers
from tests.integration.database.rows import Household


def settings(kind: type[Environment], servers: TestServers, **changed: str) -> Any:
    values = {name.lower(): value for name, value in servers.environment.items()}
    return kind.model_validate(values | changed)


class Place:
    """Every store, and an eraser that works in them."""

    def __init__(self, servers: TestServers, database: Database, **stored: str) -> None:
        self.database = database
        self.objects = ObjectStore(settings(ObjectStoreSettings, servers, **stored))
        self.keys = LiveKeys(settings(RedisSettings, servers))
        self.temporal = Temporal.open(settings(TemporalSettings, servers))
        self.live = EventStream.open(settings(RedisSettings, servers))
        self.stores = Stores(self.objects, self.keys, self.temporal)
        self.eraser = Eraser(database, self.stores, 1)

    async def fill(self, home: Household, *, by: str = "ada", end: bool = True) -> UUID:
        """A run with something of it everywhere."""
        tenant = home.tenant_id
        input_key = f"{tenant}/inputs/{uuid4()}"
        run = await home.run(by=by, input=None, input_object=json.dumps({"key": input_key, "size": 1, "sha256": "ab"}))
        keys = [f"{tenant}/{run}/{place}" for place in ("1/1/content", "1.0/artifact", "9/lost", "out")]
        for key in (input_key, *keys):
            await self.objects.put(key, b"x", "text/plain")
        async with self.database.tenant(tenant) as connection:
            file = await tenants.new_id(connection)
        event = NewEvent("model.completed", {"content": None}, refs={"/content": {"key": keys[0], "size": 1}})
        await home.commit(run, Change((event,), artifacts=((file, NewArtifact("f", "t/p", 7, "ab", keys[1])),)))
        self.live.delta(tenant, run, Delta(1, 1, 1, 0, "Hel"))
        await self.temporal.start_agent_run(RunRef(str(tenant), str(run)), 3)
        if end:
            stored = {"key": keys[3], "size": 1, "sha256": "ab"}
            ended = Change((NewEvent("run.completed", {}, END),), status="completed", output_object=stored)
            await home.commit(run, ended)
        return run

    async def upload(self, home: Household, *, by: str = "ada") -> str:
        key = f"{home.tenant_id}/uploads/{uuid4()}"
        await self.objects.put(key, b"x", "text/plain")
        async with self.database.tenant(home.tenant_id) as connection:
            id_ = await tenants.new_id(connection)
            await artifacts.add(
                connection, home.tenant_id, id_, name="f", media_type="t/p", size=5, sha256="ab", object_key=key, by=by
            )
        return key

    async def ask(self, home: Household, kind: str, **what: Any) -> ErasureRow:
        async with self.database.tenant(home.tenant_id) as connection:
            return (await erasures.add(connection, kind, by="ada", source="192.0.2.1", **what))[0]

    async def find(self, erasure: ErasureRow, tenant_id: UUID | None = None) -> ErasureRow:
        async with self.database.tenant(tenant_id or erasure.tenant_id) as connection:
            found = await erasures.find(connection, erasure.id, None)
        assert found is not None
        return found

    async def finish(self, erasure: ErasureRow, seconds: float = 90) -> ErasureRow:
        async with asyncio.timeout(seconds):
            while True:
                await self.eraser.round()
                found = await self.find(erasure)
                if found.finished_at is not None:
                    return found
                await asyncio.sleep(0.2)

    async def keys_of(self, home: Household) -> list[str]:
        return [each.key for each in await self.objects.listed(f"{home.tenant_id}/")]

    async def close(self) -> None:
        await self.live.close()
        await self.keys.close()
