"""Writes to a run's row and log as a worker does, so that the API can be tested without one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clients.event_stream import EventStream
from libs.contracts.live import Delta
from libs.database import steps, tenants
from libs.database.engine import Database
from libs.database.steps import Change, Committed
from libs.domain.events import END, NewEvent
from libs.settings.database import DatabaseSettings
from libs.settings.environment import Environment
from libs.settings.redis import RedisSettings

T = TypeVar("T")
S = TypeVar("S", bound=Environment)


def settings_from(kind: type[S], environment: dict[str, str]) -> S:
    """Settings of a kind as a process with this environment would read them."""
    return kind.model_validate({name.lower(): value for name, value in environment.items()})


class Records:
    """One tenant's; every call has its own loop, connections and commit."""

    def __init__(self, environment: dict[str, str], tenant: str) -> None:
        self._database = settings_from(DatabaseSettings, environment)
        self._redis = settings_from(RedisSettings, environment)
        self._tenant = tenant

    def run(self, work: Callable[[AsyncConnection, UUID], Awaitable[T]]) -> T:
        """Do something in a transaction of the tenant."""

        async def main() -> T:
            database = Database.open(self._database)
            try:
                tenant_id = await self._id(database)
                async with database.tenant(tenant_id) as connection:
                    return await work(connection, tenant_id)
            finally:
                await database.close()

        return asyncio.run(main())

    def sql(self, statement: str) -> list[Any]:
        async def work(connection: AsyncConnection, tenant_id: UUID) -> list[Any]:
            result = await connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []

        return self.run(work)

    def commit(self, run_id: str, change: Change, *, wake: bool = True) -> Committed:
        """A step's commit, and its wake-up."""

        async def work(connection: AsyncConnection, tenant_id: UUID) -> Committed:
            committed = await steps.commit(connection, tenant_id, UUID(run_id), change)
            assert committed is not None
            return committed

        committed = self.run(work)
        if wake:
            self.publish(run_id, lambda stream, tenant_id: stream.wake(tenant_id, UUID(run_id), committed.last_seq))
        return committed

    def start(self, run_id: str) -> Committed:
        return self.commit(run_id, Change((NewEvent("run.started", {}),), status="running", started=True))

    def model_started(self, run_id: str, turn: int = 1, attempt: int = 1, *, wake: bool = True) -> Committed:
        data = {"turn": turn, "attempt": attempt, "worker": "w", "provider": "p", "model": "m", "input_seq": 2}
        return self.commit(run_id, Change((NewEvent("model.started", data),)), wake=wake)

    def model_completed(self, run_id: str, turn: int = 1, attempt: int = 1) -> Committed:
        data = {"turn": turn, "attempt": attempt, "worker": "w", "content": "Hello", "tool_calls": []}
        return self.commit(run_id, Change((NewEvent("model.completed", data),), turn=turn))

    def complete(self, run_id: str, output: str = '"done"', *, wake: bool = True) -> Committed:
        event = NewEvent("run.completed", {"output": None}, END)
        return self.commit(run_id, Change((event,), status="completed", output=output), wake=wake)

    def delta(self, run_id: str, *deltas: Delta) -> None:
        def publish(stream: EventStream, tenant_id: UUID) -> None:
            for delta in deltas:
                stream.delta(tenant_id, UUID(run_id), delta)

        self.publish(run_id, publish)

    def publish(self, run_id: str, work: Callable[[EventStream, UUID], None]) -> None:
        async def main() -> None:
            database, stream = Database.open(self._database), EventStream.open(self._redis)
            stream.start()
            try:
                work(stream, await self._id(database))
                await stream.check()
                await asyncio.sleep(0.05)
            finally:
                await stream.close()
                await database.close()

        asyncio.run(main())

    async def _id(self, database: Database) -> UUID:
        async with database.maintenance() as connection:
            row = await tenants.find(connection, self._tenant)
        assert row is not None
        return row.id
