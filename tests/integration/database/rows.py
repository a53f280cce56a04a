"""Rows to test with: a tenant with an agent, its runs, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from secrets import token_hex
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import agents, runs, steps, tenants
from libs.database.engine import Database
from libs.database.runs import NewRun
from libs.database.steps import Change, ClosedCall, Committed, LoadedRun, OpenedCall
from libs.domain.events import END, NewEvent
from libs.domain.runs import Price, Usage

SPEC = '{"model": "local/smol"}'
PRICE = Price(Decimal(1), Decimal("0.5"), Decimal(2))


@dataclass(frozen=True)
class Household:
    """A tenant and its agent of one version, in a database."""

    database: Database
    tenant_id: UUID
    agent_id: UUID

    def new_run(self, **changed: Any) -> NewRun:
        values: dict[str, Any] = {
            "tenant_id": self.tenant_id,
            "agent_id": self.agent_id,
            "version": 1,
            "by": "ada",
            "input": '"hello"',
            "input_object": None,
            "labels": "{}",
            "priority": 3,
            "limit_steps": None,
            "limit_tokens": None,
            "limit_cost": None,
            "seconds": None,
            "data": "{}",
        }
        return NewRun(**values | changed)

    async def run(self, **changed: Any) -> UUID:
        """A new run, queued."""
        async with self.database.tenant(self.tenant_id) as connection:
            return (await runs.add(connection, self.new_run(**changed))).id

    async def commit(self, run_id: UUID, change: Change) -> Committed | None:
        async with self.database.tenant(self.tenant_id) as connection:
            return await steps.commit(connection, self.tenant_id, run_id, change)

    async def commit_or_load(self, run_id: UUID, change: Change, remembered: LoadedRun) -> Committed | LoadedRun | None:
        async with self.database.single() as connection:
            return await steps.commit_or_load(connection, self.tenant_id, run_id, change, remembered.state)

    async def settle(self, run_id: UUID, closed: ClosedCall) -> None:
        async with self.database.tenant(self.tenant_id) as connection:
            await steps.settle(connection, self.tenant_id, run_id, closed)

    async def signal(self, run_id: UUID, verb: str) -> None:
        async with self.database.tenant(self.tenant_id) as connection:
            assert await runs.signal(connection, run_id, None, verb, "{}")

    async def load(self, run_id: UUID) -> LoadedRun:
        async with self.database.tenant(self.tenant_id) as connection:
            loaded = await steps.load(connection, self.tenant_id, run_id, 0)
        assert loaded is not None
        return loaded

    async def sql(self, statement: str, *values: object) -> list[Any]:
        async with self.database.tenant(self.tenant_id) as connection:
            return await sql(connection, statement, *values)

    async def seqs(self, run_id: UUID) -> list[int]:
        rows = await self.sql("SELECT seq FROM run_events WHERE run_id = $1 ORDER BY seq", run_id)
        return [row[0] for row in rows]


async def sql(connection: AsyncConnection, statement: str, *values: object) -> list[Any]:
    result = await connection.exec_driver_sql(statement, values)
    return list(result) if result.returns_rows else []


async def new_household(database: Database) -> Household:
    async with database.maintenance() as connection:
        tenant_id = await tenants.new_id(connection)
    async with database.tenant(tenant_id) as connection:
        assert await tenants.add(connection, tenant_id, f"t-{token_hex(6)}", "A tenant")
        agent = await agents.add(connection, tenant_id, "helper", "", "ada")
        assert agent is not None
        number = await agents.add_version(connection, tenant_id, agent.id, f"sha256:{token_hex(8)}", SPEC, "ada")
        await agents.promote(connection, agent.id, number)
    return Household(database, tenant_id, agent.id)


def fact(number: int = 0, *, key: str | None = None) -> NewEvent:
    return NewEvent("artifact.created", {"number": number}, key)


def opened(turn: int = 1, attempt: int = 1) -> OpenedCall:
    return OpenedCall(turn, attempt, "provider", "model", 1000, PRICE)


def closed(
    input_tokens: int, output_tokens: int, *, state: str = "settled", turn: int = 1, attempt: int = 1
) -> ClosedCall:
    usage = Usage(input_tokens, 1, output_tokens, 2, estimated=state == "estimated")
    return ClosedCall(turn, attempt, state, usage, PRICE.of(usage))


MODEL = {"turn": 1, "attempt": 1, "worker": "w", "provider": "local", "model": "smol"}
ANSWER = {"content": "Hi", "tool_calls": [], "finish_reason": "stop", "usage": {}, **MODEL}
GIVEN_UP = NewEvent("model.failed", {"turn": 1, "attempt": 1, "code": "worker_lost"}, "m1.1.x")


async def failed(home: Household) -> UUID:
    """A run that ended with a call that is estimated."""
    run = await home.run()
    await home.commit(run, Change((NewEvent("model.started", MODEL),), opened=opened()))
    over = NewEvent("run.failed", {"code": "worker_lost"}, END)
    await home.commit(run, Change((GIVEN_UP, over), status="failed", closed=closed(9, 9, state="estimated")))
    return run
