"""Plans that a connection makes while the tables are new, and keeps: they stay good while the tables grow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.database import steps
from libs.database.engine import Database
from libs.database.steps import Change
from tests.fixtures.stack import TestServers
from tests.integration.database.conftest import settings
from tests.integration.database.rows import Household, closed, fact, new_household, opened, sql

SETTLED = 8  # PostgreSQL keeps a plan from the sixth execution on
MANY = 2000
ROWS_READ = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname = $1"


@pytest.fixture
async def home(servers: TestServers) -> AsyncIterator[Household]:
    """In a database that nobody has analyzed, by one connection."""
    environment = await asyncio.to_thread(servers.new_database, "first_plans")
    values = {name.lower(): value for name, value in environment.items()}
    database = Database.open(settings(servers, **values, database_pool_size=1))
    yield await new_household(database)
    await database.close()


async def _rows_read_by_a_step(home: Household) -> dict[str, int]:
    """How many rows of each table it takes to open a model call and to close it."""
    run = await home.run()
    async with home.database.tenant(home.tenant_id) as connection:
        before = {table: (await sql(connection, ROWS_READ, table))[0][0] for table in ("runs", "model_calls")}
        await steps.commit(connection, home.tenant_id, run, Change((fact(),), opened=opened()))
        await steps.commit(connection, home.tenant_id, run, Change((fact(),), turn=1, closed=closed(10, 5)))
        return {table: (await sql(connection, ROWS_READ, table))[0][0] - rows for table, rows in before.items()}


async def test_a_step_reads_no_other_runs_of_its_tenant(home: Household) -> None:
    for _ in range(SETTLED):
        few = await _rows_read_by_a_step(home)
    assert few["runs"] > 0
    assert few["model_calls"] > 0
    await home.sql(
        "INSERT INTO runs (tenant_id, agent_id, version, created_by, status, finished_at) "
        "SELECT $1, $2, 1, 'ada', 'completed', now() FROM generate_series(1, $3)",
        home.tenant_id,
        home.agent_id,
        MANY,
    )
    await home.sql(
        "INSERT INTO model_calls (tenant_id, run_id, turn, attempt, provider, model, reserved_tokens) "
        "SELECT tenant_id, id, 1, 1, 'p', 'm', 10 FROM runs WHERE status = 'completed'"
    )
    assert await _rows_read_by_a_step(home) == few
