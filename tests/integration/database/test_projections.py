"""Positions of runs: none is missed, each is taken by one, and what was shown is shown again where it has changed."""

from __future__ import annotations

from uuid import uuid4

from libs.database import erasing, erasures, projections, refusals, runs
from libs.database.engine import SESSION
from libs.database.projections import OVERLAP_SECONDS, Position, Scope
from libs.database.steps import Change
from libs.domain.events import END, NewEvent
from tests.integration.database.rows import Household, closed, failed, opened, sql


async def discovered(home: Household, name: str) -> int | None:
    async with home.database.maintenance() as connection:
        await projections.begin(connection, name)
        return await projections.discover(connection, name, Scope([home.tenant_id], []), most=100, every=0)


async def claimed(home: Household, name: str, lease: float = 60) -> list[Position]:
    async with home.database.maintenance() as connection:
        return await projections.claim(connection, name, Scope([home.tenant_id], []), most=100, lease=lease)


async def advanced(home: Household, name: str, position: Position, seq: int, *, finished: bool = False) -> bool:
    async with home.database.tenant(home.tenant_id) as connection:
        return await projections.advance(connection, name, position, seq, finished=finished, pause=0)


def test_what_is_read_again_is_longer_than_any_transaction() -> None:
    assert SESSION["transaction_timeout"].removesuffix("s").isdigit()
    assert int(SESSION["transaction_timeout"].removesuffix("s")) < OVERLAP_SECONDS


async def test_a_run_that_is_committed_late_is_not_missed(home: Household) -> None:
    """Its time is before the last look, since its transaction had begun before it."""
    name = f"p-{uuid4()}"
    assert await discovered(home, name) == 0
    async with home.database.tenant(home.tenant_id) as connection:
        late = (await runs.add(connection, home.new_run())).id
        await home.run()
        assert await discovered(home, name) == 1
        async with home.database.maintenance() as other:
            [[before]] = await sql(other, "SELECT read_to > clock_timestamp() - interval '5 s' FROM projection_reads "
                                          "WHERE name = $1", name)  # fmt: skip
        assert before
    assert await discovered(home, name) == 1
    assert await discovered(home, name) == 0
    assert late in {position.run_id for position in await claimed(home, name)}


async def test_what_was_made_before_the_first_look_is_not_projected(home: Household) -> None:
    run = await home.run()
    await home.sql("UPDATE runs SET created_at = created_at - interval '1 day' WHERE id = $1", run)
    assert await discovered(home, f"p-{uuid4()}") == 0


async def test_more_runs_than_one_look_takes_are_found_by_the_next(home: Household) -> None:
    name = f"p-{uuid4()}"
    await discovered(home, name)
    made = {await home.run() for _ in range(5)}
    scope = Scope([home.tenant_id], [])
    found = []
    for _ in range(3):
        async with home.database.maintenance() as connection:
            found.append(await projections.discover(connection, name, scope, most=2, every=0))
    assert found == [2, 2, 1]
    assert {position.run_id for position in await claimed(home, name)} == made


async def test_a_run_is_taken_by_one_and_moved_by_who_took_it_last(home: Household) -> None:
    name = f"p-{uuid4()}"
    run = await home.run()
    await discovered(home, name)
    [first] = await claimed(home, name, lease=0)
    [second] = await claimed(home, name)
    assert await claimed(home, name) == []
    assert not await advanced(home, name, first, 1)
    assert await advanced(home, name, second, 1)
    assert await claimed(home, name) == []  # it has nothing new
    await home.signal(run, "cancel")
    [third] = await claimed(home, name)
    assert (third.run_id, third.seq) == (run, 1)
    assert await advanced(home, name, third, 3, finished=True)
    assert await claimed(home, name) == []


async def test_a_run_without_news_is_set_aside_until_it_has_some(home: Household) -> None:
    name = f"p-{uuid4()}"
    run = await home.run()
    await discovered(home, name)
    [position] = await claimed(home, name)
    await advanced(home, name, position, 1)

    async def looked() -> int:
        async with home.database.maintenance() as connection:
            return await projections.take_up(connection, name)

    assert await looked() == 0
    [[aside]] = await home.sql("SELECT next_at = 'infinity' FROM projections WHERE run_id = $1", run)
    assert aside
    await home.signal(run, "pause")
    assert await claimed(home, name) == []
    assert await looked() == 1
    assert [position.run_id for position in await claimed(home, name)] == [run]


async def test_a_call_whose_usage_comes_late_is_told_again(home: Household) -> None:
    name = f"p-{uuid4()}"
    run = await home.run()
    await home.commit(run, Change((NewEvent("model.started", {}),), opened=opened()))
    lost = Change((NewEvent("run.failed", {}, END),), status="failed", closed=closed(9, 9, state="estimated"))
    await home.commit(run, lost)
    await discovered(home, name)
    [position] = await claimed(home, name)
    await advanced(home, name, position, 3, finished=True)
    await home.settle(run, closed(9, 10))
    [again] = await claimed(home, name)
    assert again.corrected
    async with home.database.tenant(home.tenant_id) as connection:
        assert await projections.repeat(connection, name, again, 0)
    assert await advanced(home, name, again, 3, finished=True)
    assert await claimed(home, name) == []


async def test_a_correction_is_not_missed_by_who_tells_the_run_and_leaves_it_to_that_one(home: Household) -> None:
    """It may have read the ledger before, and nothing of the run may be told yet."""
    name = f"p-{uuid4()}"
    run = await failed(home)
    await discovered(home, name)
    [position] = await claimed(home, name)
    await home.settle(run, closed(9, 10))
    assert await claimed(home, name) == []
    assert await advanced(home, name, position, 4, finished=True)
    [again] = await claimed(home, name)
    assert again.corrected


async def test_how_far_behind_it_is(home: Household) -> None:
    name, everybody = f"p-{uuid4()}", Scope(None, [])
    async with home.database.maintenance() as connection:
        await projections.begin(connection, name)
        assert await projections.lag(connection, name, everybody) == (0, 0.0)
    await home.run()
    await discovered(home, name)
    async with home.database.maintenance() as connection:
        behind = await projections.lag(connection, name, everybody)
        assert await projections.lag(connection, name, Scope(None, [home.tenant_id])) == (0, 0.0)
        assert await projections.lag(connection, name, Scope([], [])) == (0, 0.0)
    assert behind.runs == 1
    assert 0 < behind.seconds < 60


YEAR_OLD = """
    INSERT INTO run_events (tenant_id, run_id, seq, type, key, data, at)
    VALUES ($1, $2, 5, 'run.resumed', 'old', '{}', clock_timestamp() - interval '1 year')
"""


async def test_an_old_run_that_is_told_again_is_not_behind_since_it_was_made(home: Household) -> None:
    name, own = f"p-{uuid4()}", Scope([home.tenant_id], [])
    run = await failed(home)
    await home.sql(YEAR_OLD, home.tenant_id, run)
    await home.sql("UPDATE runs SET last_seq = 5 WHERE id = $1", run)
    await discovered(home, name)
    [position] = await claimed(home, name)
    await advanced(home, name, position, 5, finished=True)
    await home.settle(run, closed(9, 10))
    [again] = await claimed(home, name)
    async with home.database.maintenance() as connection:
        assert await projections.lag(connection, name, own) == (0, 0.0)
    async with home.database.tenant(home.tenant_id) as connection:
        assert await projections.repeat(connection, name, again, 4)
    async with home.database.maintenance() as connection:
        behind = await projections.lag(connection, name, own)
    assert behind.runs == 1
    assert behind.seconds < 60


async def test_what_is_known_of_a_run_goes_with_it(home: Household) -> None:
    name = f"p-{uuid4()}"
    run = await home.run()
    await discovered(home, name)
    async with home.database.tenant(home.tenant_id) as connection:
        await refusals.add(
            connection, home.tenant_id, run, "traces", "1-1", project="p", status=400, reason="It does not accept it."
        )
        await erasures.add(connection, "run", by="ada", source="x", run_id=run)
    await home.signal(run, "cancel")
    async with home.database.maintenance() as connection:
        assert await erasing.delete_runs(connection, home.tenant_id, [run]) == 1
    for table in ("projections", "refusals"):
        assert await home.sql(f"SELECT 1 FROM {table} WHERE run_id = $1", run) == []
