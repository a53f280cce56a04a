"""A step's commit: gapless, all or nothing, behind its fences, and each cent counted once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from libs.database import steps
from libs.database.engine import is_unavailable
from libs.database.steps import Change, Committed, EffectTaken, LoadedRun, Unstorable
from libs.domain.events import END, NewEvent
from libs.domain.tools import NewArtifact
from tests.integration.database.rows import PRICE, Household, closed, fact, new_household, opened

ENDED = Change((NewEvent("run.completed", {"output": None}, END),), status="completed", output='"done"')


# Sequence numbers


async def test_twenty_writers_at_once_leave_no_gap(home: Household) -> None:
    run = await home.run()

    async def write(writer: int) -> list[int]:
        mine = []
        for number in range(5):
            change = Change(tuple(fact(number, key=f"{writer}.{number}.{i}") for i in range(1 + number % 3)))
            committed = await home.commit(run, change)
            assert committed is not None
            mine.append(committed.last_seq)
        return mine

    last = await asyncio.gather(*(write(writer) for writer in range(20)))
    assert await home.seqs(run) == list(range(1, 1 + 20 * (1 + 2 + 3 + 1 + 2) + 1))
    assert len({seq for mine in last for seq in mine}) == 100
    assert (await home.load(run)).state.last_seq == 181


async def test_the_events_of_a_commit_stand_together_in_their_order(home: Household) -> None:
    run = await home.run()
    await asyncio.gather(*(home.commit(run, Change(tuple(fact(10 * w + i) for i in range(4)))) for w in range(8)))
    numbers = [event.data["number"] for event, _ in (await home.load(run)).events[1:]]
    assert sorted(numbers) == sorted(10 * w + i for w in range(8) for i in range(4))
    for start in range(0, 32, 4):
        first = numbers[start]
        assert numbers[start : start + 4] == [first, first + 1, first + 2, first + 3]


async def test_a_second_effect_under_a_key_aborts_everything(home: Household) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(key="t1.0"),), opened=opened()))
    change = Change((fact(1, key="new"), fact(2, key="t1.0")), turn=1, status="running", closed=closed(10, 5))
    with pytest.raises(EffectTaken):
        await home.commit(run, change)
    assert await home.seqs(run) == [1, 2]
    state = (await home.load(run)).state
    assert (state.last_seq, state.turn, state.status, state.tokens, state.cost) == (2, 0, "queued", 0, Decimal(0))
    committed = await home.commit(run, Change((fact(key="new"),)))
    assert committed is not None
    assert committed.last_seq == 3


async def test_of_two_commits_with_one_key_at_the_same_time_one_wins(home: Household) -> None:
    run = await home.run()
    changes = [Change((fact(n), fact(n, key="m1"))) for n in range(6)]
    outcomes = await asyncio.gather(*(home.commit(run, change) for change in changes), return_exceptions=True)
    assert sum(isinstance(outcome, EffectTaken) for outcome in outcomes) == 5
    assert await home.seqs(run) == [1, 2, 3]


# Fences


async def refused(home: Household, run: UUID, change: Change) -> None:
    before = (await home.load(run)).state.last_seq
    assert await home.commit(run, change) is None
    assert (await home.load(run)).state.last_seq == before


async def test_a_turn_is_committed_once(home: Household) -> None:
    run = await home.run()
    assert await home.commit(run, Change((fact(),), require_turn=0, turn=1))
    await refused(home, run, Change((fact(),), require_turn=0, turn=1))
    assert await home.commit(run, Change((fact(),), require_turn=1, turn=2))


async def test_control_beats_finish(home: Household) -> None:
    """What was asked while the last answer was on its way is not swallowed by the end."""
    run = await home.run()
    await home.commit(run, Change((fact(),), started=True, status="running"))
    seen = (await home.load(run)).state.control_seq
    await home.signal(run, "cancel")
    await refused(home, run, Change(ENDED.events, status="completed", require_control=seen))
    # The paid answer is committed without the end.
    assert await home.commit(run, Change((fact(),), turn=1))
    state = (await home.load(run)).state
    assert (state.status, state.desired, state.control_seq) == ("cancelling", "cancelled", seen + 1)


async def test_of_an_end_and_a_cancel_at_the_same_time_none_is_lost(home: Household) -> None:
    for _ in range(10):
        run = await home.run()
        await home.commit(run, Change((fact(),), started=True))
        end = Change(ENDED.events, status="completed", output='"done"', require_control=0)
        committed, _ = await asyncio.gather(home.commit(run, end), home.signal(run, "cancel"))
        state = (await home.load(run)).state
        assert state.finished is (committed is not None)
        assert state.finished or state.desired == "cancelled"


async def test_what_is_remembered_is_committed_while_nobody_has_written_since(home: Household) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(),), opened=opened()))
    await home.commit(run, Change((fact(),), turn=1, closed=closed(10, 5)))
    remembered = await home.load(run)
    committed = await home.commit_or_load(run, Change((fact(),), require_turn=1, turn=2), remembered)
    assert isinstance(committed, Committed)
    state = (await home.load(run)).state
    assert (state.last_seq, state.turn) == (committed.last_seq, 2) == (4, 2)


@pytest.mark.parametrize("what", ["an event", "control", "the money of a call that lost", "an end", "the fence"])
async def test_what_is_remembered_and_no_longer_so_is_read_instead(home: Household, what: str) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(),), started=True, opened=opened()))
    remembered = await home.load(run)
    match what:
        case "an event":
            await home.commit(run, Change((fact(7),)))
        case "control":
            await home.signal(run, "pause")
        case "the money of a call that lost":
            await home.settle(run, closed(10, 5))
        case "an end":
            await home.commit(run, ENDED)
    change = Change((fact(9),), require_turn=1 if what == "the fence" else 0)
    found = await home.commit_or_load(run, change, remembered)
    now = await home.load(run)
    assert isinstance(found, LoadedRun)
    assert replace(found.state, now=now.state.now) == now.state
    assert found.events == now.events[2:]
    assert 9 not in [event.data.get("number") for event, _ in now.events]


async def test_of_many_that_remember_the_same_one_commits(home: Household) -> None:
    run = await home.run()
    remembered = await home.load(run)
    found = await asyncio.gather(*(home.commit_or_load(run, Change((fact(n),)), remembered) for n in range(8)))
    assert sum(isinstance(outcome, Committed) for outcome in found) == 1
    assert await home.seqs(run) == [1, 2]


async def test_nothing_of_a_run_that_is_gone_or_of_another_tenant_is_remembered(home: Household) -> None:
    run = await home.run()
    remembered = await home.load(run)
    other = await new_household(home.database)
    assert await other.commit_or_load(run, Change((fact(),)), remembered) is None
    assert await home.commit_or_load(UUID(int=1), Change((fact(),)), remembered) is None
    assert await home.seqs(run) == [1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Change((fact(),), turn=1), Change((fact(),), require_turn=0, turn=1)),
        (Change((fact(),), desired="cancelled"), Change(ENDED.events, require_control=0, status="completed")),
        (Change((fact(),), desired="paused"), Change((fact(),), require_desired_run=True)),
        (ENDED, Change((fact(),))),
    ],
    ids=["turn", "control", "desired", "end"],
)
async def test_a_fence_is_judged_when_the_row_is_ours(home: Household, first: Change, second: Change) -> None:
    """The second commit begins before the first is there, and waits for the row."""
    run = await home.run()
    async with home.database.tenant(home.tenant_id) as connection:
        assert await steps.commit(connection, home.tenant_id, run, first)
        waiting = asyncio.create_task(home.commit(run, second))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    assert await waiting is None
    assert await home.seqs(run) == [1, 2]


async def test_nothing_is_opened_when_something_else_is_desired(home: Household) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(),), started=True))
    await home.signal(run, "pause")
    await refused(home, run, Change((fact(),), require_desired_run=True))
    await home.signal(run, "resume")
    assert await home.commit(run, Change((fact(),), require_desired_run=True))


async def test_an_end_is_the_logs_last(home: Household) -> None:
    run = await home.run()
    assert await home.commit(run, ENDED)
    await refused(home, run, Change((fact(),)))
    await refused(home, run, ENDED)
    async with home.database.tenant(home.tenant_id) as connection:
        rows = await connection.exec_driver_sql(
            "SELECT status, output, finished_at IS NOT NULL FROM runs WHERE id = $1", (run,)
        )
        assert tuple(rows.one()) == ("completed", '"done"', True)


async def test_a_change_of_what_is_desired_raises_the_control_number(home: Household) -> None:
    run = await home.run()
    committed = await home.commit(run, Change((fact(),), desired="cancelled", status="cancelling"))
    assert committed is not None
    assert (committed.control_seq, committed.desired) == (1, "cancelled")


async def test_what_was_seen_of_control_never_goes_back(home: Household) -> None:
    run = await home.run()
    for seen in (3, 1, None):
        await home.commit(run, Change((fact(),), control_seen=seen))
    assert await home.sql("SELECT control_seen FROM runs WHERE id = $1", run) == [(3,)]


# Data


@pytest.mark.parametrize("text", ["nul \x00 in it", "half a pair \ud83d"])
async def test_data_that_postgresql_refuses_is_named_so(home: Household, text: str) -> None:
    run = await home.run()
    with pytest.raises(Unstorable) as refusal:
        await home.commit(run, Change((NewEvent("model.completed", {"content": text}),)))
    assert not is_unavailable(refusal.value)
    assert await home.seqs(run) == [1]


async def test_text_comes_back_as_it_was(home: Household) -> None:
    run = await home.run()
    arguments = '{"b": 1,  "a": 2, "b": 3, "n": 1e400}'
    await home.commit(run, Change((NewEvent("model.completed", {"arguments": arguments, "c": "\u2028é🦊\\u0000"}),)))
    event, _ = (await home.load(run)).events[-1]
    assert event.data == {"arguments": arguments, "c": "\u2028é🦊\\u0000"}


async def test_files_are_committed_with_their_event(home: Household) -> None:
    run = await home.run()
    async with home.database.tenant(home.tenant_id) as connection:
        first, second = await steps.new_ids(connection, 2)
    file = NewArtifact("report.txt", "text/plain", 5, "ab" * 32, "key")
    await home.commit(run, Change((fact(key="t1.0"),), artifacts=((first, file),)))
    with pytest.raises(EffectTaken):
        await home.commit(run, Change((fact(key="t1.0"),), artifacts=((second, file),)))
    rows = await home.sql("SELECT id, name, size, created_by FROM artifacts WHERE run_id = $1", run)
    assert [tuple(row) for row in rows] == [(first, "report.txt", 5, "ada")]


# Money


async def totals(home: Household, run: UUID) -> tuple[int, int, Decimal, bool]:
    [row] = await home.sql("SELECT input_tokens, output_tokens, cost, estimated FROM runs WHERE id = $1", run)
    return row[0], row[1], row[2], row[3]


async def ledger(home: Household, run: UUID) -> list[tuple[object, ...]]:
    rows = await home.sql(
        "SELECT turn, attempt, state, input_tokens, output_tokens, cost FROM model_calls "
        "WHERE run_id = $1 ORDER BY turn, attempt",
        run,
    )
    return [tuple(row) for row in rows]


async def test_a_call_is_opened_with_its_price_and_closed_with_its_usage(home: Household) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(),), opened=opened()))
    rows = await home.sql(
        "SELECT state, reserved_tokens, input_price, cached_input_price, output_price FROM model_calls"
    )
    assert tuple(rows[0]) == ("open", 1000, PRICE.input, PRICE.cached_input, PRICE.output)
    call = closed(100, 50)
    await home.commit(run, Change((fact(),), turn=1, closed=call, opened=opened(2)))
    assert await ledger(home, run) == [(1, 1, "settled", 100, 50, call.cost), (2, 1, "open", 0, 0, 0)]
    assert await totals(home, run) == (100, 50, call.cost, False)


async def test_an_estimate_that_is_settled_late_counts_once(home: Household) -> None:
    """A dead worker's call was estimated by the next attempt; then its commit, which lost, settles what it cost."""
    run = await home.run()
    await home.commit(run, Change((fact(),), opened=opened()))
    await home.commit(run, Change((fact(),), closed=closed(100, 50, state="estimated"), opened=opened(1, 2)))
    assert await totals(home, run) == (100, 50, closed(100, 50).cost, True)
    await home.settle(run, closed(80, 20))
    await home.commit(run, Change((fact(),), turn=1, closed=closed(90, 10, attempt=2)))
    assert await totals(home, run) == (170, 30, closed(80, 20).cost + closed(90, 10).cost, True)
    assert [row[2] for row in await ledger(home, run)] == ["settled", "settled"]


async def test_settling_twice_changes_nothing(home: Household) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(),), opened=opened()))
    for tokens in (80, 999):
        await home.settle(run, closed(tokens, 20))
    assert await totals(home, run) == (80, 20, closed(80, 20).cost, False)


async def test_a_call_is_settled_after_the_end(home: Household) -> None:
    run = await home.run()
    await home.commit(run, Change((fact(),), opened=opened()))
    await home.commit(run, Change(ENDED.events, status="completed", closed=closed(100, 50, state="estimated")))
    await home.settle(run, closed(80, 20))
    assert (await totals(home, run))[:3] == (80, 20, closed(80, 20).cost)


@pytest.mark.parametrize("settle", [False, True])
async def test_an_estimate_and_the_real_count_at_the_same_time_count_once(home: Household, settle: bool) -> None:
    """The estimate holds the row's lock while the real count waits for it."""
    run = await home.run()
    await home.commit(run, Change((fact(),), opened=opened()))
    async with home.database.tenant(home.tenant_id) as connection:
        estimate = Change((fact(),), closed=closed(100, 50, state="estimated"), opened=opened(1, 2))
        assert await steps.commit(connection, home.tenant_id, run, estimate)
        real = Change((fact(key="m1"),), require_turn=0, turn=1, closed=closed(80, 20))
        waiting = asyncio.create_task(home.settle(run, closed(80, 20)) if settle else late(home, run, real))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    await waiting
    assert (await totals(home, run))[:3] == (80, 20, closed(80, 20).cost)
    assert (await ledger(home, run))[0][2:5] == ("settled", 80, 20)


async def late(home: Household, run: UUID, change: Change) -> None:
    assert await home.commit(run, change)


async def test_the_runs_totals_are_the_sum_of_its_ledger(home: Household) -> None:
    run = await home.run()
    for turn in range(1, 6):
        await home.commit(run, Change((fact(),), opened=opened(turn)))
        await home.commit(run, Change((fact(),), turn=turn, closed=closed(7 * turn, 3 * turn, turn=turn)))
    [sums] = await home.sql(
        "SELECT sum(input_tokens), sum(output_tokens), sum(cost) FROM model_calls WHERE run_id = $1", run
    )
    assert (await totals(home, run))[:3] == tuple(sums)
