"""Runs that somebody should look after: found across tenants, each by one worker at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

from libs.database import reconciliation
from libs.database.engine import Database
from libs.database.reconciliation import Neglected
from libs.database.steps import Change
from libs.domain.events import END, NewEvent
from tests.integration.database.rows import Household, fact, sql


async def claim(database: Database, most: int = 50) -> list[Neglected]:
    async with database.maintenance() as connection:
        return await reconciliation.claim(connection, most)


async def make_due(database: Database, *runs: UUID) -> None:
    """Nothing else is due, and these are since an hour."""
    async with database.maintenance() as connection:
        await sql(connection, "UPDATE runs SET next_check_at = clock_timestamp() + interval '1 day'")
        await sql(
            connection,
            "UPDATE runs SET next_check_at = clock_timestamp() - interval '1 hour' WHERE id = ANY ($1)",
            list(runs),
        )


async def test_a_run_is_claimed_by_one_of_many(home: Household, neighbours: Household) -> None:
    runs = [await household.run() for household in (home, neighbours) * 10]
    await make_due(home.database, *runs)
    claimed = await asyncio.gather(*(claim(home.database, 6) for _ in range(8)))
    counted = Counter(run.run_id for batch in claimed for run in batch)
    assert set(counted) <= set(runs)
    assert set(counted.values()) == {1}
    assert all(len(batch) <= 6 for batch in claimed)
    later = await claim(home.database)
    assert {run.run_id for run in later} == set(runs) - set(counted)
    assert await claim(home.database) == []


async def test_while_one_looks_nobody_waits(home: Household) -> None:
    """Rows that another transaction holds are passed over."""
    first, second = await home.run(), await home.run()
    await make_due(home.database, first, second)
    async with home.database.tenant(home.tenant_id) as connection:
        await sql(connection, "SELECT 1 FROM runs WHERE id = $1 FOR UPDATE", first)
        async with asyncio.timeout(2):
            assert [run.run_id for run in await claim(home.database)] == [second]


async def test_looks_come_later_each_time(home: Household) -> None:
    run = await home.run()
    pauses = []
    for _ in range(7):
        await make_due(home.database, run)
        assert [found.run_id for found in await claim(home.database)] == [run]
        async with home.database.maintenance() as connection:
            [row] = await sql(
                connection, "SELECT extract(epoch FROM next_check_at - clock_timestamp()) FROM runs WHERE id = $1", run
            )
        pauses.append(float(row[0]))
    for number, pause in enumerate(pauses):
        assert 0.75 <= pause / min(60, 2 * 2 ** min(number, 5)) <= 1.25


async def test_what_was_asked_brings_the_next_look_near(home: Household) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(),), started=True))
    await make_due(home.database)
    await home.signal(run, "pause")
    async with home.database.maintenance() as connection:
        rows = await sql(
            connection,
            "SELECT next_check_at < clock_timestamp() + interval '5 seconds', control_seq > control_seen "
            "FROM runs WHERE id = $1",
            run,
        )
    assert rows == [(True, True)]


async def test_only_live_admitted_runs_are_looked_after(home: Household) -> None:
    ended, waiting, unadmitted = await home.run(), await home.run(), await home.run()
    await home.commit(ended, Change((NewEvent("run.failed", {}, END),), status="failed"))
    await home.commit(waiting, Change((fact(),), started=True, status="waiting"))
    await home.sql("UPDATE runs SET admitted_at = NULL WHERE id = $1", unadmitted)
    await make_due(home.database, ended, waiting, unadmitted)
    [found] = await claim(home.database)
    assert (found.run_id, found.tenant_id, found.started, found.checks) == (waiting, home.tenant_id, True, 1)


async def test_controls_of_runs_of_several_tenants_are_one_query(home: Household, neighbours: Household) -> None:
    mine, theirs = await home.run(), await neighbours.run()
    await home.commit(mine, Change((fact(),), started=True))
    await home.signal(mine, "cancel")
    async with home.database.maintenance() as connection:
        found = await reconciliation.controls(
            connection,
            [(home.tenant_id, mine), (neighbours.tenant_id, theirs), (home.tenant_id, theirs)],
        )
    assert found == {(home.tenant_id, mine): (1, "cancelled"), (neighbours.tenant_id, theirs): (0, "run")}
