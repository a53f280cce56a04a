"""Sums of the ledger: each call once, on its day, behind the wall, also when its run is erased."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from libs.database import erasing, erasures, usage
from libs.database.runs import UNPRICED
from libs.database.steps import Change
from libs.database.usage import UsageFilter, UsageRow
from tests.integration.database.rows import Household, closed, fact, opened

SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
JANUARY = UsageFilter(SINCE, UNTIL)
Names = tuple[str | None, ...]


async def call(home: Household, run: UUID, turn: int, at: str, *, state: str = "settled", **more: Any) -> None:
    """A row of the ledger: 100 input, 10 cached, 20 output and 5 reasoning tokens for 0.25 USD."""
    values = {"provider": "p", "model": "m", "price": Decimal(1), "cost": Decimal("0.25")} | more
    await home.sql(
        "INSERT INTO model_calls (tenant_id, run_id, turn, attempt, provider, model, state, reserved_tokens, "
        "input_price, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, cost, opened_at) "
        "VALUES ($1, $2, $3, 1, $4, $5, $6, 1, $7, 100, 10, 20, 5, $8, $9)",
        home.tenant_id, run, turn, values["provider"], values["model"], state, values["price"], values["cost"],
        datetime.fromisoformat(at),
    )  # fmt: skip


async def sums(home: Household, *keys: str, wanted: UsageFilter = JANUARY) -> tuple[UsageRow, dict[Names, UsageRow]]:
    async with home.database.tenant(home.tenant_id) as connection:
        total, groups = await usage.sums(connection, home.tenant_id, keys, wanted, None, 1000)
    found = {row.keys: row for row in groups}
    assert len(found) == len(groups)
    return total, found


def calls(found: dict[Names, UsageRow]) -> dict[Names, tuple[int, int]]:
    return {names: (row.settled.calls, row.estimated.calls) for names, row in found.items()}


@pytest.fixture
async def busy(home: Household) -> Household:
    """Two runs with six calls in January, and some beside it."""
    one = await home.run(labels='{"team": "red"}')
    other = await home.run(by="bob", labels='{"team": ""}')
    await call(home, one, 1, "2026-01-01T00:00:00+00:00")
    await call(home, one, 2, "2026-01-01T23:59:59.999999+00:00", state="estimated")
    await call(home, one, 3, "2026-01-02T00:00:00+00:00", model="n")
    await call(home, one, 4, "2025-12-31T23:59:59.999999+00:00")
    await call(home, one, 5, "2026-02-01T00:00:00+00:00")
    await call(home, one, 6, "2026-01-02T00:00:00+00:00", state="open")
    await call(home, one, 7, "2026-01-02T00:00:00+00:00", state="not_sent")
    await call(home, other, 1, "2026-01-02T01:00:00+02:00")
    await call(home, other, 2, "2026-01-31T12:00:00+00:00", provider="q", price=None, cost=Decimal(0))
    third = await home.run(by="bob")
    await call(home, third, 1, "2026-01-31T12:00:00+00:00")
    return home


async def test_each_call_counts_once_on_the_day_on_which_it_was_opened(busy: Household) -> None:
    total, by_day = await sums(busy, "day")
    assert calls(by_day) == {("2026-01-01",): (2, 1), ("2026-01-02",): (1, 0), ("2026-01-31",): (2, 0)}
    assert list(by_day) == sorted(by_day)
    assert (total.settled.calls, total.estimated.calls, total.unpriced_calls) == (5, 1, 1)
    assert total.settled[1:] == (500, 50, 100, 25, Decimal(1))
    assert total.estimated[1:] == (100, 10, 20, 5, Decimal("0.25"))
    assert total[1:] == (await sums(busy))[0][1:]


async def test_groups_and_filters(busy: Household) -> None:
    _, by_model = await sums(busy, "model")
    assert calls(by_model) == {("p/m",): (3, 1), ("p/n",): (1, 0), ("q/m",): (1, 0)}
    assert by_model[("q/m",)].unpriced_calls == 1
    _, both = await sums(busy, "agent", "user")
    assert calls(both) == {("helper", "ada"): (2, 1), ("helper", "bob"): (3, 0)}
    _, by_team = await sums(busy, "label", wanted=JANUARY._replace(label_key="team"))
    assert calls(by_team) == {("",): (2, 0), ("red",): (2, 1), (None,): (1, 0)}
    cases: tuple[tuple[dict[str, Any], tuple[int, int]], ...] = (
        ({"agent": "helper"}, (5, 1)), ({"agent": "other"}, (0, 0)), ({"provider": "p"}, (4, 1)),
        ({"provider": "p", "model": "n"}, (1, 0)), ({"user": "bob"}, (3, 0)), ({"subject": "ada"}, (2, 1)),
        ({"subject": "ada", "user": "bob"}, (0, 0)), ({"labels": '{"team": "red"}'}, (2, 1)),
    )  # fmt: skip
    for changed, expected in cases:
        total, _ = await sums(busy, wanted=JANUARY._replace(**changed))
        assert (total.settled.calls, total.estimated.calls) == expected, changed


async def test_pages_go_through_all_groups_and_each_says_the_same_total(busy: Household) -> None:
    wanted = JANUARY._replace(label_key="team")
    whole_total, whole = await sums(busy, "label", "day", wanted=wanted)
    seen: list[Names] = []
    after: list[str] | None = None
    while True:
        async with busy.database.tenant(busy.tenant_id) as connection:
            total, groups = await usage.sums(connection, busy.tenant_id, ("label", "day"), wanted, after, 1)
        assert total == whole_total
        if not groups:
            break
        seen.append(groups[0].keys)
        after = groups[0].place
    assert seen == list(whole)


async def test_neighbours_are_not_summed_and_maintenance_sums_tenants(busy: Household, neighbours: Household) -> None:
    await call(neighbours, await neighbours.run(), 1, "2026-01-05T00:00:00+00:00")
    total, _ = await sums(neighbours, "day")
    assert total.settled.calls == 1
    async with busy.database.tenant(busy.tenant_id) as connection:  # the wall, not the condition
        total, _ = await usage.sums(connection, neighbours.tenant_id, ("day",), JANUARY, None, 10)
    assert total.settled.calls == 0
    async with busy.database.maintenance() as connection:
        _, groups = await usage.sums(connection, None, ("tenant", "model"), JANUARY, None, 100_000)
    slugs = {home.tenant_id: (await home.sql("SELECT slug FROM tenants"))[0][0] for home in (busy, neighbours)}
    found = calls({row.keys: row for row in groups if row.keys[0] in slugs.values()})
    assert found == {
        (slugs[busy.tenant_id], "p/m"): (3, 1), (slugs[busy.tenant_id], "p/n"): (1, 0),
        (slugs[busy.tenant_id], "q/m"): (1, 0), (slugs[neighbours.tenant_id], "p/m"): (1, 0),
    }  # fmt: skip


async def test_what_erased_runs_used_stays_without_whose_it_was(busy: Household) -> None:
    runs = [row[0] for row in await busy.sql("SELECT id FROM runs WHERE created_by = 'bob'")]
    for run in runs:
        await busy.commit(run, Change((fact(),), status="failed"))
    before, by_day = await sums(busy, "day", "agent", "model")
    async with busy.database.tenant(busy.tenant_id) as connection:
        await erasures.add(connection, "subject", by="ada", source="x", subject="bob")
    async with busy.database.maintenance() as connection:
        assert await erasing.delete_runs(connection, busy.tenant_id, runs) == 2
    assert await busy.sql("SELECT 1 FROM model_calls WHERE run_id = ANY ($1)", runs) == []
    assert await sums(busy, "day", "agent", "model") == (before, by_day)
    _, by_user = await sums(busy, "user")
    assert calls(by_user) == {("ada",): (2, 1), (None,): (3, 0)}
    total, _ = await sums(busy, wanted=JANUARY._replace(user="bob"))
    assert total.settled.calls == 0


async def test_what_a_tenant_used_goes_with_it(home: Household) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(),), opened=opened()))
    await home.commit(run, Change((fact(),), closed=closed(100, 50), status="failed"))
    async with home.database.tenant(home.tenant_id) as connection:
        await erasures.add(connection, "tenant", by="ada", source="x", slug="home")
    async with home.database.maintenance() as connection:
        assert await erasing.delete_runs(connection, home.tenant_id, [run]) == 1
    assert await home.sql("SELECT 1 FROM erased_usage") == []


async def test_whether_calls_had_no_price_is_told_of_a_long_run_without_reading_those_that_had(home: Household) -> None:
    run = await home.run()
    for turn in range(1, 101):
        await call(home, run, turn, "2026-01-01T00:00:00+00:00")
    await call(home, run, 101, "2026-01-01T00:00:00+00:00", price=None)
    count = f"SELECT {UNPRICED} FROM runs r WHERE r.id = $1"
    assert await home.sql(count, run) == [(1,)]
    plan = "\n".join(line for (line,) in await home.sql(f"EXPLAIN ANALYZE {count}", run))
    assert "Rows Removed by Filter" not in plan, plan
