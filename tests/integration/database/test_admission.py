"""Places among a tenant's running runs: counted exactly, however many give them at once, and given in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.database import admission, agents, runs, tenants
from libs.database.admission import Given, NoPlace, Occupied
from libs.database.engine import Database
from libs.database.runs import Recorded
from libs.database.steps import Change
from libs.domain.events import END, NewEvent
from tests.fixtures.stack import TestServers
from tests.integration.database.conftest import settings
from tests.integration.database.rows import Household, sql

UNSEEN = 100  # PostgreSQL's connections at most, by default


async def limit(home: Household, running: int | None, queued: int | None = None) -> None:
    """Give the tenant a plan of its own."""
    slug = f"p-{home.tenant_id}"
    async with home.database.tenant(UUID(int=0)) as connection:
        await sql(
            connection,
            "INSERT INTO plans (slug, running_runs, queued_runs) VALUES ($1, $2, $3) "
            "ON CONFLICT (slug) DO UPDATE SET running_runs = $2, queued_runs = $3",
            slug, running, queued,
        )  # fmt: skip
    async with home.database.tenant(home.tenant_id) as connection:
        await tenants.update(connection, home.tenant_id, None, None, slug)


async def post(home: Household, *, exactly: bool = False, priority: int = 3) -> Recorded:
    """As the API does: once without waiting for others, and where that is not enough, exactly."""
    try:
        async with home.database.tenant(home.tenant_id) as connection:
            found = await agents.runnable(connection, "helper", None, exactly=exactly)
            assert found
            return await runs.add(connection, home.new_run(priority=priority), found.places)
    except NoPlace:
        if exactly:
            raise
        return await post(home, exactly=True, priority=priority)


async def admit(home: Household, most: int = 50) -> list[Given]:
    async with home.database.tenant(home.tenant_id) as connection:
        await admission.enter(connection, home.tenant_id)
        return await admission.admit(connection, home.tenant_id, most)


async def revoke(home: Household, most: int = 50) -> list[Given]:
    async with home.database.tenant(home.tenant_id) as connection:
        return await admission.revoke(connection, home.tenant_id, most)


async def end(home: Household, run: UUID) -> None:
    assert await home.commit(run, Change((NewEvent("run.completed", {}, END),), status="completed"))


async def set_status(home: Household, status: str) -> None:
    async with home.database.tenant(home.tenant_id) as connection:
        await tenants.update(connection, home.tenant_id, None, status)


async def running(home: Household) -> set[UUID]:
    return {row[0] for row in await home.sql(f"SELECT id FROM runs WHERE {admission.HOLDS}")}


async def test_above_the_limit_runs_wait_and_above_the_next_there_is_no_place(home: Household) -> None:
    await limit(home, 2, 1)
    first, second, third = [await post(home) for _ in range(3)]
    assert (first.admitted, second.admitted, third.admitted) == (True, True, False)
    with pytest.raises(NoPlace):
        await post(home)
    assert len(await home.sql("SELECT 1 FROM runs")) == 3
    assert await admit(home) == []
    await end(home, first.id)
    assert [given.run_id for given in await admit(home)] == [third.id]
    assert (await post(home)).admitted is False


async def test_who_waits_goes_first_by_priority_then_age(home: Household) -> None:
    await limit(home, 1)
    holder = await post(home)
    waiting = [await post(home, priority=priority) for priority in (3, 1, 3, 1)]
    await end(home, holder.id)
    newcomer = await post(home)
    assert (newcomer.admitted, newcomer.room) == (False, True)
    order = []
    for _ in range(5):
        [given] = await admit(home)
        order.append(given.run_id)
        await end(home, given.run_id)
    assert order == [waiting[1].id, waiting[3].id, waiting[0].id, waiting[2].id, newcomer.id]


async def many(servers: TestServers, count: int, one: Callable[[Database], Awaitable[Any]]) -> list[Any]:
    """As two replicas do: each with connections of its own."""
    replicas = [Database.open(settings(servers, database_pool_size=8)) for _ in range(2)]
    try:
        return await asyncio.gather(*(one(replicas[number % 2]) for number in range(count)), return_exceptions=True)
    finally:
        for replica in replicas:
            await replica.close()


@pytest.mark.parametrize("places", [3, UNSEEN + 5], ids=["small", "with a shared lock far below"])
async def test_no_place_is_given_twice(home: Household, servers: TestServers, places: int) -> None:
    await limit(home, places, 4)
    attempts = places + 30

    async def one(database: Database) -> Recorded:
        return await post(Household(database, home.tenant_id, home.agent_id))

    outcomes = await many(servers, attempts, one)
    recorded = [outcome for outcome in outcomes if isinstance(outcome, Recorded)]
    assert sum(outcome.admitted for outcome in recorded) == places
    assert len(recorded) == places + 4
    assert all(isinstance(outcome, Recorded | NoPlace) for outcome in outcomes)
    assert len(await running(home)) == places


async def test_ends_posts_and_admissions_at_once_never_exceed_the_limit(home: Household, servers: TestServers) -> None:
    await limit(home, 4)
    seen: list[int] = []

    async def one(database: Database) -> None:
        household = Household(database, home.tenant_id, home.agent_id)
        recorded = await post(household)
        begun = {recorded.id} if recorded.admitted else set()
        begun |= {given.run_id for given in await admit(household)}
        seen.append(len(await running(household)))
        for run in begun:
            await end(household, run)
        await admit(household)

    assert await many(servers, 60, one) == [None] * 60
    assert max(seen) <= 4
    while left := await running(home):
        assert len(left) <= 4
        for run in left:
            await end(home, run)
        await admit(home)
    assert await home.sql("SELECT 1 FROM runs WHERE finished_at IS NULL") == []


async def test_without_a_limit_nobody_waits(home: Household) -> None:
    await limit(home, 1, 5)
    waiting = [await post(home) for _ in range(4)][1:]
    await limit(home, None)
    assert (await post(home)).admitted
    assert {given.run_id for given in await admit(home)} == {recorded.id for recorded in waiting}


async def test_a_paused_run_gives_its_place_up_and_waits_for_one_again(home: Household) -> None:
    await limit(home, 1)
    paused, other = (await post(home)).id, (await post(home)).id
    await home.signal(paused, "pause")
    assert (await home.load(paused)).state.desired == "paused"
    assert await admit(home) == []
    assert await home.commit(paused, Change((NewEvent("run.paused", {}),), status="paused"))
    assert [given.run_id for given in await admit(home)] == [other]
    await home.signal(paused, "resume")
    state = (await home.load(paused)).state
    assert (state.status, state.desired) == ("paused", "paused")
    assert await home.commit(paused, Change((NewEvent("run.resumed", {}),), require_desired_run=True)) is None
    assert await home.sql("SELECT desired FROM runs WHERE id = $1", paused) == [("run",)]
    await end(home, other)
    [given] = await admit(home)
    assert (given.run_id, given.control_seq) == (paused, state.control_seq + 1)
    assert (await home.load(paused)).state.desired == "run"


async def test_a_run_that_waits_is_paused_and_cancelled_without_a_worker(home: Household) -> None:
    await limit(home, 1)
    await post(home)
    paused, cancelled = (await post(home)).id, (await post(home)).id
    await home.signal(paused, "pause")
    await home.signal(cancelled, "cancel")
    assert [(await home.load(run)).state.status for run in (paused, cancelled)] == ["paused", "cancelled"]
    types = "SELECT type FROM run_events WHERE run_id = $1 ORDER BY seq"
    assert [row[0] for row in await home.sql(types, paused)] == ["run.queued", "run.pausing", "run.paused"]
    assert await home.seqs(paused) == [1, 2, 3]
    await home.signal(paused, "resume")
    await home.signal(paused, "pause")
    assert (await home.load(paused)).state.status == "paused"
    assert await home.seqs(paused) == [1, 2, 3, 4, 5, 6]


async def test_a_suspended_tenants_runs_lose_their_places_and_keep_what_was_asked(home: Household) -> None:
    await limit(home, 3)
    at_work, queued, of_the_user = [(await post(home)).id for _ in range(3)]
    waiting = (await post(home)).id
    await home.commit(at_work, Change((NewEvent("run.started", {}),), status="running", started=True))
    await home.signal(of_the_user, "pause")
    assert await revoke(home) == []  # the tenant is active
    await set_status(home, "suspended")
    batches = [await revoke(home, 2), await revoke(home, 2), await revoke(home, 2)]
    assert [len(batch) for batch in batches] == [2, 1, 0]
    assert await running(home) == set()
    assert await admit(home) == []
    for run in (at_work, queued, of_the_user):
        assert (await home.load(run)).state.desired == "paused"
    desired = dict(await home.sql("SELECT id, desired FROM runs"))
    assert desired == {at_work: "run", queued: "run", of_the_user: "paused", waiting: "run"}
    assert await home.commit(of_the_user, Change((NewEvent("run.paused", {}),), status="paused"))
    async with home.database.tenant(home.tenant_id) as connection:
        await admission.enter(connection, home.tenant_id)
        await admission.admit_working(connection, home.tenant_id)
        await tenants.update(connection, home.tenant_id, None, "active")
    assert await running(home) == {at_work}
    assert {given.run_id for given in await admit(home)} == {queued, waiting}
    assert (await home.load(of_the_user)).state.desired == "paused"


async def test_tenants_are_found_whose_runs_wait_or_must_stop(home: Household, neighbours: Household) -> None:
    async def found() -> tuple[bool, ...]:
        async with home.database.maintenance() as connection:
            waiting = await admission.waiting_tenants(connection)
            stopped = await admission.stopped_tenants(connection)
        tenants_ = home.tenant_id, neighbours.tenant_id
        return (*(tenant in waiting for tenant in tenants_), *(tenant in stopped for tenant in tenants_))

    await limit(home, 1)
    holder = (await post(home)).id
    await post(neighbours)
    assert await found() == (False, False, False, False)
    for _ in range(3):
        await post(home)
    assert await found() == (True, False, False, False)
    await set_status(home, "suspended")
    assert await found() == (False, False, True, False)
    await revoke(home)
    assert await found() == (False, False, False, False)
    await set_status(home, "active")
    assert await found() == (True, False, False, False)
    assert [given.run_id for given in await admit(home)] == [holder]


async def test_a_run_may_be_overdue_before_its_turn(home: Household) -> None:
    await limit(home, 1)
    await post(home)
    late = (await post(home)).id
    await home.sql("UPDATE runs SET deadline_at = clock_timestamp() - interval '1 second' WHERE id = $1", late)
    async with home.database.maintenance() as connection:
        assert (home.tenant_id, late) in await admission.overdue(connection, 1000)


async def test_a_frozen_transaction_holds_up_its_tenant_only(home: Household, neighbours: Household) -> None:
    await limit(home, 2)
    await limit(neighbours, 2)
    async with home.database.tenant(home.tenant_id) as connection:
        await admission.enter(connection, home.tenant_id)
        async with asyncio.timeout(2):
            assert (await post(neighbours)).admitted
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await post(home)


async def test_who_gives_places_to_many_tenants_waits_for_none_of_them(home: Household, neighbours: Household) -> None:
    """Rule 17: a process that is frozen while it holds a tenant's lock takes no other tenant's turn."""
    await limit(home, 1)
    async with home.database.tenant(home.tenant_id) as frozen:
        await admission.enter(frozen, home.tenant_id)
        with pytest.raises(Occupied):
            async with asyncio.timeout(5), admission.impatient(home.database, home.tenant_id) as connection:
                await admission.enter(connection, home.tenant_id)
        async with admission.impatient(home.database, neighbours.tenant_id) as connection:
            await admission.enter(connection, neighbours.tenant_id)
    async with admission.impatient(home.database, home.tenant_id) as connection:
        await admission.enter(connection, home.tenant_id)


async def test_nobody_gives_places_of_a_tenant_that_is_not_there(home: Household) -> None:
    stranger = Household(home.database, uuid4(), home.agent_id)
    assert await admit(stranger) == []
