"""The numbers of the whole platform: live runs by state, whoever's they are, and living workers."""

from __future__ import annotations

from uuid import uuid4

from libs.database import census, workers
from libs.database.census import Census
from libs.database.engine import Database
from libs.database.steps import Change
from libs.domain.events import END, RUN_STARTED, NewEvent
from tests.integration.database.rows import Household

QUEUE = f"counted-{uuid4()}"


async def taken(database: Database, alive_within: float = 15) -> Census:
    async with database.maintenance() as connection:
        return await census.take(connection, QUEUE, alive_within)


async def test_live_runs_of_all_tenants_are_counted_by_state(home: Household, neighbours: Household) -> None:
    before = await taken(home.database)
    runs = [await household.run() for household in (home, neighbours)]
    paused = await home.run()
    await home.signal(paused, "pause")
    started = Change((NewEvent(RUN_STARTED, {}),), status="running", started=True)
    assert await home.commit(runs[0], started)
    ended = await neighbours.run()
    assert await neighbours.commit(ended, Change((NewEvent("run.failed", {}, END),), status="failed"))
    after = await taken(home.database)
    assert {state: after.runs[state] - before.runs[state] for state in ("queued", "running")} == {
        "queued": 1,
        "running": 1,
    }
    assert after.oldest_unstarted > 0


async def test_a_run_without_a_place_waits_for_one_and_not_for_a_worker(home: Household) -> None:
    run = await home.run()
    before = await taken(home.database)
    await home.sql("UPDATE runs SET admitted_at = NULL WHERE id = $1", run)
    after = await taken(home.database)
    assert after.runs["queued"] == before.runs["queued"] - 1
    assert after.runs["waiting_for_place"] == before.runs["waiting_for_place"] + 1


async def test_a_worker_lives_for_as_long_as_it_is_seen(database: Database) -> None:
    async with database.maintenance() as connection:
        await workers.renew(connection, uuid4(), "counted", QUEUE, [])
        await workers.renew(connection, uuid4(), "of another platform", f"{QUEUE}-other", [])
    assert (await taken(database)).workers == 1
    assert (await taken(database, alive_within=0)).workers == 0
