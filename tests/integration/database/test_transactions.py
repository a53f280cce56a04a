"""Transactions that end badly leave clean connections, and steps update the run's row in place."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from deploy.embedded.ports import LOOPBACK
from libs.database import blocked_subjects, steps
from libs.database.engine import PLATFORM, Database, NothingCommitted, Shares, TenantBusy, is_unavailable
from libs.database.steps import Change, EffectTaken, Unstorable
from libs.domain.events import NewEvent
from tests.fixtures.stack import TestServers
from tests.integration.database.conftest import settings
from tests.integration.database.rows import Household, closed, fact, new_household, opened, sql

BROKEN = "UPDATE runs SET priority = 1"


@pytest.fixture
async def alone(narrow: Database) -> Household:
    """A household whose transactions share one connection."""
    return await new_household(narrow)


async def backend(home: Household) -> int:
    [row] = await home.sql("SELECT pg_backend_pid()")
    return int(row[0])


async def is_clean(home: Household) -> bool:
    """Whether the next transaction is its own, of this tenant, and nothing of the last one was kept."""
    async with asyncio.timeout(5):
        rows = await home.sql(
            "SELECT current_setting('app.tenant_id')::uuid, (SELECT count(*) FROM runs WHERE priority = 1), "
            "now() = statement_timestamp() OR now() > clock_timestamp() - interval '1 second'"
        )
    return [tuple(row) for row in rows] == [(home.tenant_id, 0, True)]


async def change_something(home: Household, pause: asyncio.Event | None = None) -> None:
    async with home.database.tenant(home.tenant_id) as connection:
        await sql(connection, BROKEN)
        if pause is None:
            await sql(connection, "SELECT pg_sleep(30)")
        else:
            await pause.wait()


@pytest.mark.parametrize("in_a_statement", [True, False])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_transaction_leaves_a_clean_connection(
    alone: Household, in_a_statement: bool, times: int
) -> None:
    await alone.run()
    task = asyncio.create_task(change_something(alone, None if in_a_statement else asyncio.Event()))
    await asyncio.sleep(0.1)
    for _ in range(times):  # a second cancel comes while the first one rolls back
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_clean(alone)


async def test_a_failed_transaction_leaves_a_clean_connection(alone: Household) -> None:
    await alone.run()
    pid = await backend(alone)

    async def fail() -> None:
        async with alone.database.tenant(alone.tenant_id) as connection:
            await sql(connection, BROKEN)
            await sql(connection, "SELECT 1 / 0")

    with pytest.raises(DBAPIError):
        await fail()
    assert await is_clean(alone)
    assert await backend(alone) == pid  # rolled back, not thrown away


async def test_many_cancelled_transactions_use_up_no_connection(servers: TestServers) -> None:
    database = Database.open(settings(servers, database_pool_size=3))
    home = await new_household(database)
    for _ in range(4):
        tasks = [asyncio.create_task(change_something(home)) for _ in range(3)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert all(await asyncio.gather(*(is_clean(home) for _ in range(6))))
    await database.close()


@pytest.mark.parametrize("single", [False, True])
async def test_a_connection_that_was_cut_is_replaced_before_anybody_fails(
    alone: Household, home: Household, single: bool
) -> None:
    """A server that was started anew cuts all of a pool; each would fail somebody otherwise."""
    run = await alone.run()
    pid = await backend(alone)
    await home.sql("SELECT pg_terminate_backend($1)", pid)
    await asyncio.sleep(0.1)
    if single:
        async with alone.database.single() as connection:
            assert await steps.load(connection, alone.tenant_id, run, 0) is not None
    assert await is_clean(alone)
    assert await backend(alone) != pid


async def test_a_connection_that_is_cut_in_the_middle_is_replaced(alone: Household, home: Household) -> None:
    pid = await backend(alone)
    task = asyncio.create_task(change_something(alone))
    await asyncio.sleep(0.1)
    await home.sql("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(Exception, match=r".") as failure:
        await task
    assert is_unavailable(failure.value)
    assert await is_clean(alone)


# What means that the database is away


async def test_a_server_that_is_not_there_is_unavailable(servers: TestServers) -> None:
    away = Database.open(settings(servers, database_url=f"postgresql://agent_runtime_app@{LOOPBACK}:9/x"))
    with pytest.raises(Exception, match=r".") as failure:
        async with away.tenant((await _some_tenant(servers)).tenant_id):
            pass
    assert is_unavailable(failure.value)
    await away.close()


async def _some_tenant(servers: TestServers) -> Household:
    database = Database.open(settings(servers))
    home = await new_household(database)
    await database.close()
    return home


async def test_a_statement_that_takes_too_long_means_unavailable(home: Household) -> None:
    async def dawdle() -> None:
        async with home.database.tenant(home.tenant_id) as connection:
            await sql(connection, "SET LOCAL statement_timeout = 50")
            await sql(connection, "SELECT pg_sleep(5)")

    with pytest.raises(DBAPIError) as failure:
        await dawdle()
    assert is_unavailable(failure.value)


@pytest.mark.parametrize(
    ("failure", "away"),
    [
        (PoolTimeout(), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (EffectTaken("run_events_key"), False),
        (Unstorable("22P05"), False),
        (ValueError("no"), False),
        (KeyError("no"), False),
    ],
)
def test_what_is_away_and_what_is_wrong(failure: Exception, away: bool) -> None:
    assert is_unavailable(failure) is away


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT nothing", ProgrammingError),
        ("SELECT 1 / 0", DBAPIError),
        ("INSERT INTO tenants (id, slug, name) SELECT uuidv7(), slug, name FROM tenants", ProgrammingError),
        ("UPDATE runs SET status = 'no such state'", IntegrityError),
    ],
)
async def test_a_wrong_statement_does_not_mean_that_the_database_is_away(
    home: Household, statement: str, kind: type[Exception]
) -> None:
    await home.run()
    with pytest.raises(kind) as failure:
        await home.sql(statement)
    assert not is_unavailable(failure.value)


# In place


async def test_a_step_updates_the_runs_row_in_place(home: Household) -> None:
    """HOT: no index has to be written, since none is on a column that a step changes."""
    run = await home.run()
    changes = [
        Change((NewEvent("run.started", {}), fact(key="m1.1")), started=True, status="running", opened=opened()),
        Change((fact(key="m1"),), require_turn=0, turn=1, control_seen=0, closed=closed(10, 5), opened=opened(2)),
        Change((fact(key="t1.0.1"), fact(key="t1.0"))),
        Change((fact(key="m2"),), turn=2, closed=closed(9, 9, turn=2)),
        Change((fact(),), status="waiting", waiting_for="input"),
        Change((fact(),), status="running", desired="run"),
    ]
    for number, change in enumerate(changes):
        async with home.database.tenant(home.tenant_id) as connection:
            updates, in_place = await updates_of_runs(connection)
            assert await steps.commit(connection, home.tenant_id, run, change)
            assert await updates_of_runs(connection) == (updates + 1, in_place + 1), number


async def updates_of_runs(connection: AsyncConnection) -> tuple[int, int]:
    """All, and those in place, that this connection has made and not reported yet."""
    [row] = await sql(
        connection, "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'runs'"
    )
    return row[0], row[1]


async def test_a_commit_that_commits_nothing_is_no_success(alone: Household, narrow: Database) -> None:
    """A statement's error that somebody passes over turns PostgreSQL's COMMIT into a rollback."""

    async def passed_over() -> None:
        async with narrow.tenant(alone.tenant_id) as connection:
            with suppress(Exception):
                await connection.exec_driver_sql("SELECT 1 / 0")

    with pytest.raises(NothingCommitted):
        await passed_over()


async def test_a_tenant_whose_transactions_wait_leaves_connections_to_others(servers: TestServers) -> None:
    """As when all of them want a lock that a process holds which hangs."""
    database = Database.open(settings(servers, database_pool_size=4))
    busy, other = uuid4(), uuid4()

    async def wait() -> None:
        async with database.tenant(busy) as connection:
            await sql(connection, "SELECT pg_sleep(1.5)")

    waiting = [asyncio.create_task(wait()) for _ in range(6)]
    try:
        await asyncio.sleep(0.3)
        async with asyncio.timeout(1), database.tenant(other) as connection:
            assert await sql(connection, "SELECT 1")
        for task in waiting[3:]:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with database.tenant(busy) as connection:  # who was cancelled while it waited took no share with it
            assert await sql(connection, "SELECT 1")
    finally:
        await asyncio.gather(*waiting, return_exceptions=True)
        await database.close()


async def test_a_tenant_that_gets_no_connection_is_told_so_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.database.engine.CONNECT_TIMEOUT_SECONDS", 0.2)
    shares = Shares(1)
    async with shares.of(PLATFORM):
        with pytest.raises(TenantBusy) as raised:
            async with shares.of(PLATFORM):
                pass
    assert is_unavailable(raised.value)
    async with shares.of(PLATFORM):
        pass


async def test_a_tenant_blocks_so_many_at_the_most(home: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are read again and again, on connections that every tenant needs."""
    monkeypatch.setattr(blocked_subjects, "MOST", 2)
    async with home.database.tenant(home.tenant_id) as connection:
        blocked = [await blocked_subjects.block(connection, home.tenant_id, name, "", "ada") for name in "abcb"]
        assert blocked == [True, True, False, False]
        assert await blocked_subjects.find(connection, "c") is None
