"""Which deltas reach a client, and when."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.live import Delta
from libs.database.events import EventRow
from services.api.feed import DeltaOrder

NOW = datetime.now(UTC)


def event(seq: int, kind: str, turn: int, attempt: int = 1) -> EventRow:
    return EventRow(seq, kind, 1, "{}", None, NOW, turn, attempt)


def test_a_delta_waits_for_the_events_before_it() -> None:
    order = DeltaOrder(0)
    order.add([Delta(1, 1, 3, 0, "a")])
    assert order.needs == 3
    assert order.release(2) == []
    assert [delta.text for delta in order.release(3)] == ["a"]
    assert order.release(3) == []


def test_older_attempts_and_finished_turns_are_dropped() -> None:
    order = DeltaOrder(1)
    order.note(event(5, "model.started", 2, 1))
    order.note(event(6, "model.started", 2, 2))
    order.add([Delta(1, 1, 2, 0, "finished"), Delta(2, 1, 5, 0, "lost"), Delta(2, 2, 6, 0, "kept")])
    assert [delta.text for delta in order.release(6)] == ["kept"]
    order.note(event(7, "model.failed", 2, 2))
    order.add([Delta(2, 2, 6, 1, "after its end")])
    assert order.release(7) == []
    order.note(event(9, "model.completed", 2, 3))
    order.add([Delta(2, 3, 8, 0, "committed")])
    assert order.release(9) == []


def test_a_new_attempt_is_known_by_its_first_delta() -> None:
    order = DeltaOrder(0)
    order.add([Delta(1, 2, 3, 0, "new"), Delta(1, 1, 2, 5, "old")])
    assert [delta.text for delta in order.release(9)] == ["new"]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 5)), max_size=30),
    st.lists(st.integers(0, 30), max_size=5),
)
def test_each_piece_goes_out_once_and_in_order(pieces: list[tuple[int, int, int]], again: list[int]) -> None:
    order = DeltaOrder(0)
    sent: list[Delta] = []
    for number, (turn, attempt, index) in enumerate(pieces):
        if number in again:
            kept = [Delta(turn, attempt, 0, index, "") for turn, attempt, index in pieces[:number]]
            order.add(kept, again=True)
        order.add([Delta(turn, attempt, 0, index, "")])
        sent += order.release(0)
    places = [(delta.turn, delta.attempt, delta.index) for delta in sent]
    assert places == sorted(set(places))
