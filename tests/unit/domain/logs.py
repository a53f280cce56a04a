"""Logs to test with: events as the worker writes them, and whole runs made at random."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from libs.domain import events
from libs.domain.events import Event
from libs.domain.run_log import RunLog
from libs.domain.runs import RunState

brief = settings(max_examples=20, deadline=None, database=None)  # the whole folder is to take seconds
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STATE = RunState(
    status="running",
    desired="run",
    control_seq=0,
    last_seq=0,
    turn=0,
    log_version=1,
    started=True,
    now=NOW,
    deadline_at=None,
    limit_steps=None,
    limit_tokens=None,
    limit_cost=None,
    tokens=0,
    cost=Decimal(0),
)
Fact = tuple[str, dict[str, Any]]


def numbered(facts: Iterable[Fact]) -> list[Event]:
    return [Event(seq, kind, data, NOW) for seq, (kind, data) in enumerate(facts, 1)]


def folded(*facts: Fact) -> RunLog:
    return applied(numbered(facts))


def applied(found: Iterable[Event]) -> RunLog:
    log = RunLog()
    for event in found:
        log.apply(event)
    return log


def state_of(log: RunLog, **changed: Any) -> RunState:
    return replace(STATE, **{"turn": len(log.turns), "last_seq": log.last_seq} | changed)


def queued() -> Fact:
    return events.RUN_QUEUED, {"agent": "a", "version": 1, "by": "ada"}


def asked(turn: int, attempt: int = 1, input_seq: int = 1) -> Fact:
    return events.MODEL_STARTED, {"turn": turn, "attempt": attempt, "worker": f"w/{attempt}", "input_seq": input_seq}


def failed(turn: int, attempt: int = 1, code: str = "http_500", **more: Any) -> Fact:
    return events.MODEL_FAILED, {"turn": turn, "attempt": attempt, "code": code, "message": "no", "sent": True, **more}


def answered(turn: int, content: str = "", *calls: str, attempt: int = 1, ids: str = "") -> Fact:
    return events.MODEL_COMPLETED, {
        "turn": turn,
        "attempt": attempt,
        "content": content,
        "tool_calls": [{"index": i, "id": ids, "name": name, "arguments": "{}"} for i, name in enumerate(calls)],
        "finish_reason": "tool_calls" if calls else "stop",
        "usage": {"input_tokens": 10, "cached_input_tokens": 0, "output_tokens": 5, "reasoning_tokens": 0},
    }


def tool_started(turn: int, index: int, attempt: int = 1) -> Fact:
    return events.TOOL_STARTED, {"turn": turn, "index": index, "attempt": attempt, "worker": "w/1", "name": "f"}


def tool_failed(turn: int, index: int, attempt: int = 1, code: str = "not_sent") -> Fact:
    return events.TOOL_FAILED, {"turn": turn, "index": index, "attempt": attempt, "code": code, "sent": False}


def result(turn: int, index: int, content: str = "", **more: Any) -> Fact:
    return events.TOOL_COMPLETED, {"turn": turn, "index": index, "content": content, "is_error": False, **more}


def rejected(turn: int) -> Fact:
    return events.OUTPUT_REJECTED, {"turn": turn, "problem": "not JSON"}


@st.composite
def runs(draw: st.DrawFn) -> list[Fact]:
    """A run of some turns: calls answered in any order, attempts that fail, answers given back, control between."""
    facts = [queued(), (events.RUN_STARTED, {})]
    turns = draw(st.integers(1, 3))
    for turn in range(1, turns + 1):
        attempt = 1
        for code in draw(st.lists(st.sampled_from(["http_500", events.WORKER_LOST]), max_size=1)):
            facts += [asked(turn, attempt), failed(turn, attempt, code)]
            attempt += 1
        names = draw(st.lists(st.sampled_from(["reads", "writes"]), max_size=3))
        facts += [asked(turn, attempt), answered(turn, f"turn {turn}", *names, attempt=attempt)]
        for index in draw(st.permutations(range(len(names)))):
            if draw(st.booleans()):
                facts += [tool_started(turn, index), tool_failed(turn, index), tool_started(turn, index, 2)]
            facts.append(result(turn, index, f"result {turn}.{index}"))
            if draw(st.booleans()):
                facts.append((draw(st.sampled_from([events.RUN_PAUSING, events.RUN_RESUMED])), {}))
        if not names:
            facts.append(rejected(turn))
    return facts
