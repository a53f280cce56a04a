"""Past calls priced again: their rows stay, what is missing is added once, whoever dies or works beside it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from secrets import token_hex
from typing import Any
from uuid import UUID

import pytest

from libs.database import erasing, erasures, prices, re_ratings, steps, usage
from libs.database.engine import PLATFORM
from libs.database.re_ratings import Batch, ReRatingRow
from libs.database.steps import Change, ClosedCall, OpenedCall
from libs.database.usage import UsageFilter, UsageRow
from libs.domain.runs import Price, Usage
from services.worker import rerating
from services.worker.rerating import ReRater
from tests.fixtures.platform import eventually
from tests.integration.database.rows import Household, fact, new_household, sql

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
OLD = Price(Decimal(1), Decimal("0.5"), Decimal(2))
NEW = Price(Decimal(3), Decimal(1), Decimal(7))
USED = Usage(100, 40, 30, 5)  # 140 millionths at the old price, 430 at the new one
GUESSED = Usage(10, 0, 0, 0, estimated=True)
WAITS_FOR_ME = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"


@pytest.fixture
def provider() -> str:
    """Prices are everybody's: each test has a provider of its own."""
    return f"p{token_hex(6)}"


async def enter(home: Household, provider: str, price: Price, model: str = "m", at: datetime = LONG_AGO) -> None:
    async with home.database.tenant(PLATFORM) as connection:
        await prices.add(connection, provider, model, price, at, "root")


async def spend(
    home: Household, run: UUID, provider: str, turn: int = 1, price: Price | None = OLD, model: str = "m", **more: Any
) -> None:
    used: Usage = more.get("used", USED)
    await home.commit(run, Change((fact(),), opened=OpenedCall(turn, 1, provider, model, 1, price)))
    await home.commit(run, Change((fact(),), closed=ended(turn, used, price)))


def ended(turn: int, used: Usage, price: Price | None) -> ClosedCall:
    state = "estimated" if used.estimated else "settled"
    return ClosedCall(turn, 1, state, used, price.of(used) if price else Decimal(0))


async def ask(home: Household, provider: str, model: str = "*") -> ReRatingRow:
    async with home.database.tenant(PLATFORM) as connection:
        row = await re_ratings.add(connection, provider, model, LONG_AGO, None, "root")
    assert row is not None
    return row


async def rerate(home: Household, provider: str, model: str = "*") -> ReRatingRow:
    asked = await ask(home, provider, model)
    await ReRater(home.database).round()
    async with home.database.tenant(PLATFORM) as connection:
        row = await re_ratings.find(connection, asked.id)
    assert row is not None
    assert row.finished_at is not None
    return row


async def total(home: Household, provider: str) -> UsageRow:
    soon = datetime.now(UTC) + timedelta(hours=1)
    wanted = UsageFilter(soon - timedelta(days=2), soon, provider=provider)
    async with home.database.tenant(home.tenant_id) as connection:
        return (await usage.sums(connection, home.tenant_id, (), wanted, None, 1))[0]


async def rows(home: Household, table: str, provider: str) -> list[Any]:
    return await home.sql(f"SELECT * FROM {table} WHERE provider = $1 ORDER BY run_id, turn, attempt", provider)


async def test_what_is_missing_is_added_once_and_rows_stay(
    home: Household, neighbours: Household, provider: str
) -> None:
    await enter(home, provider, OLD)
    for household in (home, neighbours):
        run = await household.run()
        await spend(household, run, provider)
        await spend(household, run, provider, turn=2, used=GUESSED)
        await spend(household, run, provider, turn=3, model="n")
    before = await rows(home, "model_calls", provider)
    await enter(home, provider, NEW)  # for the same moment: the newest counts
    done = await rerate(home, provider, "m")
    assert (done.calls, done.corrected, done.amount) == (4, 4, 2 * Decimal("0.00031"))
    assert await rows(home, "model_calls", provider) == before
    sums = await total(home, provider)
    assert (sums.settled.cost, sums.estimated.cost) == (Decimal("0.00028"), Decimal("0.00001"))
    assert sums.correction == Decimal("0.00029") + Decimal("0.00002")
    again = await rerate(home, provider, "m")
    assert (again.calls, again.corrected, again.amount) == (4, 0, Decimal(0))
    await enter(home, provider, OLD)  # and back: a correction of the correction
    assert (await rerate(home, provider)).amount == -2 * Decimal("0.00031")
    assert (await total(home, provider)).correction == 0
    assert len(await rows(home, "cost_corrections", provider)) == 4


async def test_a_call_without_a_price_gets_the_one_that_is_known_now(home: Household, provider: str) -> None:
    run = await home.run()
    await spend(home, run, provider, price=None)
    await spend(home, run, provider, turn=2, price=None, model="free")
    assert (await total(home, provider)).unpriced_calls == 2
    assert (await rerate(home, provider)).corrected == 0
    await enter(home, provider, Price(Decimal(0), Decimal(0), Decimal(0)), model="free")
    await enter(home, provider, NEW, model="*")
    assert (await rerate(home, provider)).corrected == 2
    sums = await total(home, provider)
    assert (sums.unpriced_calls, sums.correction) == (0, Decimal("0.00043"))
    assert (await rerate(home, provider)).corrected == 0


async def test_each_call_has_the_price_of_its_moment(home: Household, provider: str) -> None:
    await enter(home, provider, OLD)
    run = await home.run()
    await spend(home, run, provider)
    await enter(home, provider, NEW, at=datetime.now(UTC) + timedelta(hours=1))
    assert (await rerate(home, provider)).corrected == 0


async def test_what_settles_late_is_corrected_for_the_tokens_that_it_has(home: Household, provider: str) -> None:
    run = await home.run()
    await spend(home, run, provider, used=GUESSED)
    await enter(home, provider, NEW)
    await rerate(home, provider)
    await home.settle(run, ended(1, USED, OLD))
    sums = await total(home, provider)
    assert (sums.estimated.calls, sums.settled.cost + sums.correction) == (0, NEW.of(USED))
    assert (await rerate(home, provider)).corrected == 0


async def test_a_batch_that_was_not_noted_is_counted_once(home: Household, provider: str) -> None:
    """The worker died between the corrections and the note of them."""
    run = await home.run()
    for turn in range(1, 6):
        await spend(home, run, provider, turn=turn)
    await enter(home, provider, NEW)
    asked = await ask(home, provider)
    async with home.database.tenant(home.tenant_id) as connection:
        lost = await re_ratings.correct(connection, home.tenant_id, asked, 3)
    assert (lost.calls, lost.corrected) == (3, 3)
    await ReRater(home.database).round()
    async with home.database.tenant(PLATFORM) as connection:
        done = await re_ratings.find(connection, asked.id)
    assert done is not None
    assert (done.calls, done.corrected, done.amount) == (5, 5, 5 * Decimal("0.00029"))


async def test_no_look_is_longer_than_it_may_be_however_few_calls_are_meant(home: Household, provider: str) -> None:
    """A statement that looked for the next call of a rare model among millions would be ended before it found one."""
    run = await home.run()
    for turn in range(1, 8):
        await spend(home, run, provider, turn=turn, model="m" if turn == 7 else "other")
    await enter(home, provider, NEW)
    work = await ask(home, provider, "m")
    looks: list[Batch] = []
    while not looks or looks[-1].more:
        async with home.database.tenant(home.tenant_id) as connection:
            looks.append(await re_ratings.correct(connection, home.tenant_id, work, 3))
        work = work._replace(at_tenant=home.tenant_id, looked_to=looks[-1].looked_to)
    assert [(look.calls, look.corrected) for look in looks] == [(0, 0), (0, 0), (1, 1)]


async def test_it_goes_on_past_calls_and_tenants_that_are_not_meant(
    home: Household, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerating, "CALLS", 2)
    others = await new_household(home.database)
    for house, model in ((home, "other"), (others, "m")):
        run = await house.run()
        for turn in range(1, 6):
            await spend(house, run, provider, turn=turn, model=model)
    await enter(home, provider, NEW, model="m")
    assert (await rerate(home, provider, "m")).corrected == 5
    assert (await total(others, provider)).correction == 5 * Decimal("0.00029")


async def test_workers_beside_each_other_correct_once(
    home: Household, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerating, "CALLS", 2)
    run = await home.run()
    for turn in range(1, 8):
        await spend(home, run, provider, turn=turn)
    await enter(home, provider, NEW)
    asked = [await ask(home, provider) for _ in range(3)]
    await asyncio.gather(*(ReRater(home.database).round() for _ in range(3)))
    async with home.database.tenant(PLATFORM) as connection:
        found = [await re_ratings.find(connection, each.id) for each in asked]
    assert sum(row.corrected for row in found if row) == 7
    assert (await total(home, provider)).correction == 7 * Decimal("0.00029")


async def test_corrections_stay_in_the_sums_when_their_run_is_erased(home: Household, provider: str) -> None:
    run = await home.run()
    await spend(home, run, provider)
    await spend(home, run, provider, turn=2, price=None)
    await enter(home, provider, NEW)
    await rerate(home, provider)
    before = await total(home, provider)
    await home.commit(run, Change((fact(),), status="failed"))
    async with home.database.tenant(home.tenant_id) as connection:
        await erasures.add(connection, "run", by="ada", source="x", run_id=run)
    async with home.database.maintenance() as connection:
        assert await erasing.delete_runs(connection, home.tenant_id, [run]) == 1
    assert await rows(home, "cost_corrections", provider) == []
    assert await total(home, provider) == before


async def test_usage_that_arrives_meanwhile_costs_the_newest_price(home: Household, provider: str) -> None:
    """Its trigger corrects at the price known before, and whoever waits for the call must see that."""
    await enter(home, provider, OLD)
    run = await home.run()
    await spend(home, run, provider, used=GUESSED)
    await enter(home, provider, NEW)
    await rerate(home, provider)
    newest = Price(Decimal(30), Decimal(10), Decimal(70))
    await enter(home, provider, newest)
    await ask(home, provider)
    async with home.database.tenant(home.tenant_id) as connection:
        await steps.settle(connection, home.tenant_id, run, ended(1, USED, OLD))
        rating = asyncio.create_task(ReRater(home.database).round())
        await eventually(lambda: sql(connection, WAITS_FOR_ME))
    await rating
    found = await total(home, provider)
    assert found.settled.cost + found.correction == newest.of(USED)
