"""The fold of a log: the conversation, results in call order, what is open and what failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.domain import events
from libs.domain.events import Event, UnknownEvent
from libs.domain.run_log import Result, RunLog
from tests.unit.domain.logs import (
    NOW,
    Fact,
    answered,
    applied,
    asked,
    brief,
    failed,
    folded,
    numbered,
    queued,
    rejected,
    result,
    runs,
    tool_failed,
    tool_started,
)


@brief
@given(runs())
def test_a_turns_conversation_is_a_prefix_of_the_next_ones(facts: list[Fact]) -> None:
    log, sent = RunLog(), []
    for event in numbered(facts):
        before = list(log.messages)
        log.apply(event)
        assert log.messages[: len(before)] == before
        if event.type == events.MODEL_STARTED:
            sent.append(list(log.messages))
    for earlier, later in pairwise(sent):
        assert later[: len(earlier)] == earlier


@brief
@given(runs())
def test_each_call_has_its_result_right_after_its_turn(facts: list[Fact]) -> None:
    messages = folded(*facts).messages
    for position, message in enumerate(messages):
        called = [call["id"] for call in message.get("tool_calls", ())]
        answers = messages[position + 1 : position + 1 + len(called)]
        assert [answer["tool_call_id"] for answer in answers if "tool_call_id" in answer] == called


def test_results_stand_in_the_order_of_the_calls_whatever_order_they_came_in() -> None:
    conversations = []
    for order in permutations(range(4)):
        log = folded(answered(1, "", "a", "b", "c", "d"), *(result(1, i, f"r{i}") for i in order))
        conversations.append(log.messages)
        assert [m["content"] for m in log.messages[1:]] == ["r0", "r1", "r2", "r3"]
    assert all(conversation == conversations[0] for conversation in conversations)


def test_results_are_shown_when_all_are_there() -> None:
    log = folded(answered(1, "", "a", "b"), result(1, 1, "second"))
    assert [m["role"] for m in log.messages] == ["assistant"]
    coming = log.messages_with({0: Result("first")})
    assert [m.get("content") for m in coming[1:]] == ["first", "second"]
    log.apply(Event(3, *result(1, 0, "first"), NOW))
    assert log.messages == coming


def test_ids_of_calls_are_ours() -> None:
    """A provider's may be empty, or the same in every turn."""
    log = folded(
        answered(1, "", "a", "b", ids=""), result(1, 0), result(1, 1), answered(2, "", "a", ids="x"), result(2, 0)
    )
    ids = [call["id"] for message in log.messages for call in message.get("tool_calls", ())]
    assert len(set(ids)) == 3
    assert all(ids)


@brief
@given(runs(), st.data())
def test_events_that_are_applied_twice_change_nothing(facts: list[Fact], data: st.DataObject) -> None:
    found = numbered(facts)
    log = RunLog()
    for number, event in enumerate(found, 1):
        log.apply(event)
        for again in data.draw(st.lists(st.sampled_from(found[:number]), max_size=3)):
            log.apply(again)
    assert log == applied(found)


@brief
@given(runs(), st.data())
def test_a_gap_is_refused_and_changes_nothing(facts: list[Fact], data: st.DataObject) -> None:
    found = numbered(facts)
    missing = data.draw(st.integers(0, len(found) - 2))
    log = applied(found[:missing])
    with pytest.raises(ValueError, match="gap"):
        log.apply(found[missing + 1])
    assert log == applied(found[:missing])


@pytest.mark.parametrize(
    "event",
    [Event(2, "tool.dreamt", {}, NOW), Event(2, events.MODEL_STARTED, asked(1)[1], NOW, version=2)],
)
def test_an_event_that_is_newer_is_not_skipped(event: Event) -> None:
    log = folded(queued())
    with pytest.raises(UnknownEvent):
        log.apply(event)
    assert log.last_seq == 1


def test_every_type_of_event_is_known() -> None:
    named = {
        value for name, value in vars(events).items() if name.isupper() and isinstance(value, str) and "." in value
    }
    for kind in named:
        data = {
            "turn": 1,
            "attempt": 1,
            "worker": "w",
            "index": 0,
            "content": "",
            "is_error": False,
            "problem": "p",
            "tool_calls": [],
            "finish_reason": "stop",
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        log = folded(answered(1, "", "a"))
        log.apply(Event(2, kind, data, NOW))
        assert log.last_seq == 2


def test_a_call_is_open_until_it_is_closed() -> None:
    log = folded(asked(1))
    assert log.open_attempt is not None
    log = folded(asked(1), failed(1))
    assert log.open_attempt is None
    assert folded(asked(1), answered(1, "x")).open_attempt is None
    again = folded(asked(1), failed(1), asked(1, 2))
    assert again.open_attempt is not None
    assert (again.open_attempt.number, again.open_attempt.worker) == (2, "w/2")


def test_tool_calls_are_open_until_they_have_a_result() -> None:
    log = folded(answered(1, "", "a", "b"), tool_started(1, 0), tool_started(1, 1), tool_failed(1, 1))
    assert [(turn, index) for turn, index, _ in log.open_tool_attempts] == [(1, 0)]
    log.apply(Event(5, *result(1, 0), NOW))
    assert log.open_tool_attempts == []


def test_failures_of_the_provider_are_counted_apart_from_lost_workers() -> None:
    codes = ["http_500", events.WORKER_LOST, "http_429", events.HANDED_BACK, events.STOPPED]
    log = folded(*(fact for n, code in enumerate(codes, 1) for fact in (asked(1, n), failed(1, n, code))), asked(1, 6))
    assert log.failed_attempts == 2
    tool = folded(
        answered(1, "", "a"),
        *(f for n, code in enumerate(codes, 1) for f in (tool_started(1, 0, n), tool_failed(1, 0, n, code))),
        tool_started(1, 0, 6),
    )
    assert tool.turns[0].failures(0) == 2


def test_rejections_are_those_in_a_row() -> None:
    log = folded(answered(1, "{"), rejected(1), answered(2, "{"), rejected(2))
    assert log.rejections == 2
    assert [m["role"] for m in log.messages] == ["assistant", "user", "assistant", "user"]


def test_the_time_of_an_event_means_nothing() -> None:
    found = numbered([queued(), asked(1), answered(1, "", "a"), result(1, 0)])
    later = [replace(event, at=event.at + timedelta(days=event.seq)) for event in found]
    assert applied(later).messages == applied(found).messages
