"""What comes next: each branch, and which goes before which."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from libs.domain import events
from libs.domain.agent_loop import (
    MODEL_ATTEMPTS,
    Action,
    CallModel,
    Cancel,
    Conclude,
    Done,
    Fail,
    Pause,
    RunCalls,
    next_action,
)
from libs.domain.events import UnknownEvent
from libs.domain.outputs import MAX_REJECTIONS
from libs.domain.run_log import RunLog
from tests.unit.domain.logs import (
    NOW,
    STATE,
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
    state_of,
    tool_started,
)

FATAL = failed(1, fatal=True, fatal_code="model_error")
LATE = {"deadline_at": NOW}
CANCELLED, PAUSED = {"desired": "cancelled"}, {"desired": "paused"}


def following(*facts: Fact, **state: Any) -> Action:
    log = folded(queued(), *facts)
    return next_action(log, state_of(log, **state))


def code(action: Action) -> str:
    assert isinstance(action, Fail), action
    return action.failure.code


# Each branch


def test_a_new_run_asks_the_model() -> None:
    assert following() == CallModel(1)


def test_calls_without_a_result_are_run_and_no_others() -> None:
    action = following(answered(1, "", "a", "b", "c"), result(1, 1))
    assert isinstance(action, RunCalls)
    assert [call.index for call in action.calls] == [0, 2]
    assert action.turn.number == 1


def test_the_model_is_asked_again_when_every_call_has_its_result() -> None:
    assert following(answered(1, "", "a", "b"), result(1, 1), result(1, 0)) == CallModel(2)


def test_an_answer_without_calls_concludes() -> None:
    action = following(answered(1, "done"))
    assert isinstance(action, Conclude)
    assert action.turn.content == "done"


def test_an_answer_that_was_given_back_is_asked_for_again() -> None:
    assert following(answered(1, "{"), rejected(1)) == CallModel(2)


def test_answers_are_given_back_a_bounded_number_of_times() -> None:
    facts = [fact for turn in range(1, MAX_REJECTIONS + 1) for fact in (answered(turn, "{"), rejected(turn))]
    assert following(*facts[:-2]) == CallModel(MAX_REJECTIONS)
    assert code(following(*facts)) == "invalid_output"


def test_malformed_arguments_count_as_given_back_and_a_good_turn_forgives() -> None:
    bad = [
        fact
        for turn in range(1, MAX_REJECTIONS + 1)
        for fact in (answered(turn, "", "a"), result(turn, 0, code=events.INVALID_ARGUMENTS, is_error=True))
    ]
    assert code(following(*bad)) == "invalid_output"
    good = [answered(MAX_REJECTIONS, "", "a"), result(MAX_REJECTIONS, 0)]
    assert following(*bad[:-2], *good) == CallModel(MAX_REJECTIONS + 1)


def test_a_provider_that_fails_is_tried_a_bounded_number_of_times() -> None:
    tries = [fact for n in range(1, MODEL_ATTEMPTS + 1) for fact in (asked(1, n), failed(1, n))]
    assert following(*tries[:-2]) == CallModel(1)
    ended = following(*tries)
    assert code(ended) == "model_error"
    assert isinstance(ended, Fail)
    assert "http_500" in ended.failure.message


@pytest.mark.parametrize("lost", sorted(events.NOT_THE_PROVIDERS))
def test_lost_workers_and_stops_are_not_the_providers_failures(lost: str) -> None:
    tries = [fact for n in range(1, 20) for fact in (asked(1, n), failed(1, n, lost))]
    assert following(*tries) == CallModel(1)


def test_attempts_are_counted_for_each_turn_anew() -> None:
    tries = [fact for n in range(1, MODEL_ATTEMPTS) for fact in (asked(1, n), failed(1, n))]
    log = [*tries, answered(1, "", "a"), result(1, 0), asked(2), failed(2)]
    assert following(*log) == CallModel(2)


def test_the_limit_of_steps_ends_the_run_before_the_call() -> None:
    turn = [answered(1, "", "a"), result(1, 0)]
    assert following(*turn, limit_steps=2) == CallModel(2)
    assert code(following(*turn, limit_steps=1)) == "budget_exceeded"
    # Within its last step a run may still use its tools and end.
    assert isinstance(following(answered(1, "", "a"), limit_steps=1), RunCalls)
    assert isinstance(following(answered(1, "done"), limit_steps=1), Conclude)


def test_the_deadline_is_the_databases() -> None:
    assert following(deadline_at=NOW + timedelta(microseconds=1)) == CallModel(1)
    assert code(following(**LATE)) == "deadline_exceeded"


def test_a_fatal_failure_ends_the_run_with_its_reason() -> None:
    assert code(following(asked(1), FATAL)) == "model_error"
    lost = result(1, 0, is_error=True, fatal=True, fatal_code="worker_lost", message="died")
    assert code(following(answered(1, "", "a"), lost)) == "worker_lost"


# Which goes before which


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_nothing_comes_after_the_end(status: str) -> None:
    assert following(asked(1), FATAL, status=status, **CANCELLED, **LATE) == Done()
    assert following((events.RUN_CANCELLED, {}), **PAUSED) == Done()


def test_a_committed_cancel_beats_everything_but_the_end() -> None:
    assert following(asked(1), FATAL, **CANCELLED, **LATE) == Cancel()
    assert following(answered(1, "done"), **CANCELLED) == Cancel()
    assert following(answered(1, "", "a"), tool_started(1, 0), **CANCELLED) == Cancel()


def test_failures_and_deadlines_beat_a_pause() -> None:
    assert code(following(asked(1), FATAL, **PAUSED, **LATE)) == "model_error"
    assert code(following(**PAUSED, **LATE)) == "deadline_exceeded"


def test_a_pause_beats_work() -> None:
    for facts in ([], [answered(1, "done")], [answered(1, "", "a")], [asked(1), failed(1)]):
        assert following(*facts, **PAUSED) == Pause()


def test_calls_come_before_limits_of_the_model() -> None:
    tries = [fact for n in range(1, MODEL_ATTEMPTS + 1) for fact in (asked(1, n), failed(1, n))]
    assert isinstance(following(*tries, answered(1, "", "a", attempt=9)), RunCalls)


# Versions


def test_a_log_that_is_newer_is_left_to_a_newer_worker() -> None:
    """Before anything else: a newer log may mean something else by what this code knows."""
    with pytest.raises(UnknownEvent):
        next_action(RunLog(), state_of(RunLog(), log_version=2, **CANCELLED))


@brief
@given(runs())
def test_it_is_pure_and_always_knows_what_comes_next(facts: list[Fact]) -> None:
    for length in range(len(facts) + 1):
        log = applied(numbered(facts[:length]))
        state = state_of(log)
        action = next_action(log, state)
        assert next_action(applied(numbered(facts[:length])), state) == action
        if isinstance(action, CallModel):
            assert action.turn == len(log.turns) + 1
            assert log.turn is None or not log.turn.unanswered
        if isinstance(action, RunCalls):
            assert set(action.calls) == set(action.turn.unanswered) != set()
    assert STATE.control_seq == 0
