"""Who is alive, by the database's clock, and whether an open call is in flight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from libs.database import workers
from libs.database.engine import Database
from libs.domain.run_log import Attempt
from services.worker.liveness import RENEW_TIMEOUT, Liveness
from tests.integration.database.rows import sql

DEAD_AFTER = 8.0
CALL = "run/m1.1"
CLAIM = "c1"  # of the step that made it


def process(database: Database) -> Liveness:
    return Liveness(database, "worker-1", "queue", DEAD_AFTER, 1.0)


async def now(database: Database) -> datetime:
    async with database.maintenance() as connection:
        [row] = await sql(connection, "SELECT clock_timestamp()")
    moment: datetime = row[0]
    return moment


async def age(database: Database, of: Liveness, seconds: float) -> None:
    """Make the worker's row as old as if it had not been renewed for so long."""
    async with database.maintenance() as connection:
        await sql(
            connection,
            "UPDATE workers SET seen_at = clock_timestamp() - make_interval(secs => $1) WHERE id = $2",
            seconds,
            of.id,
        )


async def judged(database: Database, by: Liveness, of: str, opened: float) -> bool:
    """Whether `by` takes a call for alive that a worker opened so many seconds ago."""
    attempt = Attempt(1, of, await now(database) - timedelta(seconds=opened))
    return await by.is_alive(attempt, CALL)


@pytest.mark.parametrize(
    ("listed", "row_age", "opened", "alive"),
    [
        (True, 0, 60, True),  # in flight
        (True, 7, 60, True),  # in flight; its worker is late, not dead
        (True, 8.5, 60, False),  # the worker is dead
        (False, 0, 60, False),  # the process lives, but its step is gone
        (False, 5, 3, True),  # the row is older than the call: it cannot list it yet
        (False, 8.5, 3, False),  # too old to tell anything but that the worker is dead
        (False, 0.5, 1, True),  # the row may have been on its way when the call was opened
        (False, 0.5, 1 + RENEW_TIMEOUT, False),
    ],
)
async def test_a_call_that_another_process_left_open(
    database: Database, listed: bool, row_age: float, opened: float, alive: bool
) -> None:
    mine, theirs = process(database), process(database)
    with theirs.in_flight(CLAIM) as add:
        if listed:
            add(CALL)
        await theirs.start()
        await age(database, theirs, row_age)
        assert await judged(database, mine, theirs.label, opened) is alive


async def test_a_worker_that_left_or_never_was_has_nothing_in_flight(database: Database) -> None:
    mine, theirs = process(database), process(database)
    with theirs.in_flight(CLAIM) as add:
        add(CALL)
        await theirs.start()
        await theirs.leave()
    for label in (theirs.label, f"worker-1/{uuid4()}", "worker-1", ""):
        assert await judged(database, mine, label, 0) is False


async def test_a_call_leaves_the_list_when_its_step_ends(database: Database) -> None:
    mine, theirs = process(database), process(database)
    await theirs.start()
    with theirs.in_flight(CLAIM) as add:
        add(CALL)
        assert await theirs.is_alive(Attempt(1, theirs.label, datetime.now(UTC), CLAIM), CALL)
        await theirs.start()
        assert await judged(database, mine, theirs.label, 60)
    assert not await theirs.is_alive(Attempt(1, theirs.label, datetime.now(UTC), CLAIM), CALL)
    await theirs.start()
    assert not await judged(database, mine, theirs.label, 60)


async def test_a_process_trusts_itself_only_as_long_as_others_do(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = process(database)
    assert not mine.trusted
    await mine.start()
    assert mine.trusted
    renewed = mine._renewed_at  # as if the machine had been suspended since
    monkeypatch.setattr("services.worker.liveness.suspended_clock", lambda: renewed + DEAD_AFTER / 2)
    assert not mine.trusted


async def test_the_time_of_a_row_is_the_databases(database: Database) -> None:
    mine = process(database)
    before = await now(database)
    await mine.start()
    async with database.maintenance() as connection:
        sight = await workers.sight(connection, mine.id, CALL)
    assert sight is not None
    assert before <= sight.seen_at <= sight.now
    assert not sight.listed
