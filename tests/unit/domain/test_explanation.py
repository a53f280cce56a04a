"""Explanations: the golden text of every situation, and what the code decides by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from libs.domain import events
from libs.domain.events import Event
from libs.domain.explanation.actions import ENDED
from libs.domain.explanation.explanations import explain
from libs.domain.explanation.facts import (
    Alive,
    Facts,
    Failed,
    LogFacts,
    Mark,
    Place,
    Reason,
    RunFacts,
    Seconds,
    Worked,
)
from libs.domain.explanation.words import SITUATIONS
from tests.unit.domain.logs import Fact, answered, asked, failed, result, tool_failed, tool_started

GOLDEN = Path(__file__).with_name("explanations.txt")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ID = "01900000-0000-7000-8000-000000000001"
W1, W2 = "worker-1/0198a6f0-1111-7000-8000-000000000001", "worker-2/0198a6f0-2222-7000-8000-000000000002"
EVERYTHING = frozenset(
    {"list_run_events", "pause_run", "resume_run", "cancel_run", "list_runs", "get_run", "create_run"}
)


def before(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


RUN = RunFacts(
    id=ID, agent="stock-keeper", version=3, status="running", waiting_for=None, desired="run", error_code=None,
    error_message=None, input_tokens=12_345, cached_input_tokens=1_000, output_tokens=678, reasoning_tokens=0,
    cost=Decimal("0.012300"), estimated=False, turn=2, priority=3, created_by="ada", created_at=before(300),
    admitted_at=before(299), started_at=before(298), finished_at=None, deadline_at=None, last_seq=9, checks=0,
    next_check_at=before(-10), now=NOW, tenant_status="active", plan="default",
)  # fmt: skip
QUEUED = replace(RUN, status="queued", started_at=None, turn=0, input_tokens=0, output_tokens=0, cost=Decimal(0))
COUNTS = {events.MODEL_STARTED: 3, events.TOOL_STARTED: 2, events.TOOL_COMPLETED: 1}
SECONDS = Seconds(model=41.5, tools=12.25, queue=1)
WORKED = (Worked(W1, 4, before(298), before(20), before(1)),)


def log(*facts: Fact, ago: float = 20, step: float = 2, **more: Any) -> LogFacts:
    """The last facts are `step` seconds apart, the first so long ago."""
    first = before(ago)
    recent = tuple(
        Event(n + 5, kind, data, first + timedelta(seconds=step * n)) for n, (kind, data) in enumerate(facts)
    )
    values: dict[str, Any] = {"counts": COUNTS, "seconds": SECONDS, "workers": WORKED, **more}
    return LogFacts(recent=recent, **values)


def facts(run: RunFacts = RUN, told: LogFacts | None = None, alive: Alive | None = None, **more: Any) -> Facts:
    living = Alive(2, "worker-1", before(1)) if alive is None else alive
    values: dict[str, Any] = {"dead_after": 8.0, "caller": "bob", "allowed": EVERYTHING, **more}
    return Facts(run, told or log(answered(2)), living, **values)


def model(turn: int, attempt: int = 1, worker: str = W1) -> Fact:
    kind, data = asked(turn, attempt)
    return kind, data | {"worker": worker, "provider": "openai", "model": "gpt-5"}


def tool(turn: int, index: int, name: str = "get_stock", attempt: int = 1) -> Fact:
    kind, data = tool_started(turn, index, attempt)
    return kind, data | {"worker": W1, "name": name}


def retry(fact: Fact, seconds: float, message: str) -> Fact:
    kind, data = fact
    return kind, data | {"retry_at": before(-seconds).isoformat(), "message": message}


def marked(**marks: Mark) -> dict[str, Any]:
    return {"marks": {f"run.{name}": mark for name, mark in marks.items()}}


NONE_ALIVE = Alive(0, "worker-1", before(243))
GONE = (Worked(W1, 4, before(298), before(260), before(243)),)
LIMIT = retry(failed(3, code="http_429"), 95, "The provider answered 429.")
FAILURE = Failed("model", 3, None, 1, "openai/gpt-5", W1, "http_429", "The provider answered 429.", before(20))
PAUSING = Mark(before(40), "ada", "Wait for the new price list")
IN_QUEUE = replace(QUEUED, admitted_at=None, place=Place(3, 12, 10, 10))

CASES: dict[str, Facts] = {
    "completed": facts(replace(RUN, status="completed", finished_at=before(60))),
    "completed, after everything": facts(
        replace(RUN, status="completed", finished_at=before(60), estimated=True),
        LogFacts(
            counts=COUNTS,
            seconds=Seconds(60, 30, 20, 40, 8, 30),
            workers=(*WORKED, Worked(W2, 1, before(290), before(280), None)),
            reasons=(
                Reason("model", "http_429", 3),
                Reason("tool", "outcome_unknown", 1),
                Reason("model", "worker_lost", 1),
            ),
            failures=(FAILURE,),
        ),
    ),
    "failed": facts(
        replace(
            RUN,
            status="failed",
            finished_at=before(60),
            error_code="budget_exceeded",
            error_message="The run used its 2 steps (limits.steps).",
        )
    ),
    "cancelled": facts(
        replace(RUN, status="cancelled", desired="cancelled", finished_at=before(60)),
        log(**marked(cancelling=Mark(before(61), "ada", "Wrong customer"))),
    ),
    "paused": facts(
        replace(RUN, status="paused", desired="paused", admitted_at=None),
        log(answered(2), **marked(pausing=PAUSING, paused=Mark(before(39)))),
    ),
    "paused by the caller, without a reason": facts(
        replace(RUN, status="paused", desired="paused", admitted_at=None),
        log(answered(2), **marked(pausing=Mark(before(90_000), "bob"), paused=Mark(before(90_000)))),
    ),
    "pausing": facts(
        replace(RUN, status="pausing", desired="paused"), log(answered(2), model(3), **marked(pausing=PAUSING))
    ),
    "pausing, with nobody to do it": facts(
        replace(RUN, status="pausing", desired="paused"), log(answered(2), **marked(pausing=PAUSING)), NONE_ALIVE
    ),
    "cancelling": facts(
        replace(RUN, status="cancelling", desired="cancelled"),
        log(answered(2, "", "get_stock", "order"), tool(2, 0), tool(2, 1, "order"), **marked(cancelling=PAUSING)),
    ),
    "cancelling, with nothing in flight": facts(
        replace(RUN, status="cancelling", desired="cancelled"), log(answered(2), **marked(cancelling=PAUSING))
    ),
    "resuming": facts(
        replace(RUN, status="paused", admitted_at=before(1)),
        log(answered(2), **marked(resuming=Mark(before(2), "ada"))),
    ),
    "waiting_for_place": facts(IN_QUEUE, LogFacts(seconds=Seconds(queue=300))),
    "waiting_for_place, of one, without a worker": facts(
        replace(IN_QUEUE, place=Place(0, 1, 1, 1)), LogFacts(), NONE_ALIVE
    ),
    "waiting_for_place, after a pause, with room": facts(
        replace(RUN, admitted_at=None, status="paused", place=Place(0, 1, 4, 10)),
        log(answered(2), **marked(paused=Mark(before(50)), resuming=Mark(before(0.3), "ada"))),
    ),
    "tenant_suspended": facts(
        replace(RUN, admitted_at=None, tenant_status="suspended", status="paused"),
        log(answered(2), **marked(paused=Mark(before(50)))),
    ),
    "tenant_suspended, still at work": facts(
        replace(RUN, admitted_at=None, tenant_status="suspended"), log(answered(2), model(3))
    ),
    "tenant_suspended, for ever": facts(replace(RUN, admitted_at=None, tenant_status="deleting")),
    "no_worker": facts(QUEUED, LogFacts(), NONE_ALIVE),
    "no_worker, ever": facts(QUEUED, LogFacts(), Alive(0)),
    "no_worker, lost at work": facts(RUN, log(answered(2), model(3), ago=250, workers=GONE), NONE_ALIVE),
    "worker_lost": facts(RUN, log(answered(2), model(3), ago=250, workers=GONE)),
    "model_call": facts(RUN, log(answered(2), model(3))),
    "model_call, again": facts(
        RUN,
        log(answered(2), model(3), LIMIT, model(3, 2), reasons=(Reason("model", "http_429", 1),), failures=(FAILURE,)),
    ),
    "tools": facts(RUN, log(answered(2, "", "get_stock"), tool(2, 0))),
    "tools, several": facts(
        RUN,
        log(
            answered(2, "", "get_stock", "order", "mail"),
            tool(2, 0),
            tool(2, 1, "order"),
            tool(2, 2, "mail"),
            result(2, 2),
        ),
    ),
    "provider_limit": facts(
        RUN, log(answered(2), model(3), LIMIT, reasons=(Reason("model", "http_429", 1),), failures=(FAILURE,))
    ),
    "model_retry": facts(RUN, log(answered(2), model(3), failed(3), model(3, 2), failed(3, 2), ago=8.5)),
    "tool_retry": facts(
        RUN,
        log(answered(2, "", "get_stock"), tool(2, 0), retry(tool_failed(2, 0), 3, "The connection was refused.")),
    ),
    "starting": facts(replace(QUEUED, admitted_at=before(0.4)), LogFacts()),
    "starting, for too long": facts(replace(QUEUED, checks=3), LogFacts()),
    "between_steps": facts(RUN, log(answered(2, "", "get_stock"), ago=1)),
    "between_steps, for too long": facts(RUN, log(answered(2), ago=60)),
    "between_steps, as a suspect": facts(
        RUN,
        log(
            answered(2),
            model(3),
            failed(3, 1, "worker_lost"),
            model(3, 2),
            failed(3, 2, "worker_lost"),
            ago=60,
            reasons=(Reason("model", "worker_lost", 2),),
        ),
    ),
    "overdue": facts(replace(RUN, deadline_at=before(2)), log(answered(2), ago=30)),
    "waiting": facts(replace(RUN, status="waiting", waiting_for="approval")),
}


def told(cases: Iterable[tuple[str, Facts]]) -> str:
    """Every case as a person reads it."""
    parts = []
    for name, known in cases:
        found = explain(known)
        offered = [f"  -> {action.text}{f' [{action.command}]' if action.command else ''}" for action in found.actions]
        until = f" until {found.situation.until:%H:%M:%S}" if found.situation.until else ""
        parts.append(
            "\n".join(
                [
                    f"== {name}",
                    f"({found.situation.code} since {found.situation.since:%H:%M:%S}{until})",
                    found.text,
                    *offered,
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def test_every_situation_reads_as_it_should() -> None:
    """A changed text is looked at, then kept: `python -m tests.unit.domain.test_explanation` writes it."""
    assert told(CASES.items()) == GOLDEN.read_text(encoding="utf-8")


def test_every_situation_has_a_case_and_is_found() -> None:
    for name, known in CASES.items():
        assert explain(known).situation.code == name.partition(",")[0].partition(" by ")[0], name
    assert {explain(known).situation.code for known in CASES.values()} == set(SITUATIONS)


@pytest.mark.parametrize("name", CASES)
def test_no_command_is_offered_that_the_caller_may_not_use(name: str) -> None:
    known = replace(CASES[name], allowed=frozenset({"get_run"}))
    found = explain(known)
    assert {action.operation for action in found.actions} <= {None, "get_run"}
    assert found.situation.code in ENDED or explain(CASES[name]).actions != found.actions


def test_a_retry_that_is_overdue_is_no_retry_any_more() -> None:
    """The time is up and nothing came: that is what is said, not a time in the past."""
    known = CASES["model_retry"]
    later = replace(known, run=replace(RUN, now=NOW + timedelta(seconds=30), next_check_at=before(-60)))
    later = replace(later, log=replace(later.log, workers=(replace_seen(WORKED[0], later.run.now),)))
    assert explain(later).situation.code == "between_steps"


def replace_seen(worker: Worked, seen_at: datetime) -> Worked:
    return worker._replace(seen_at=seen_at)


def test_a_workers_death_shows_once_its_row_is_too_old() -> None:
    told = log(answered(2), model(3))
    for age, code in ((7.9, "model_call"), (8.0, "worker_lost")):
        seen = replace(told, workers=(WORKED[0]._replace(seen_at=before(age)),))
        assert explain(facts(RUN, seen)).situation.code == code


def test_names_and_messages_stay_on_one_line_and_short() -> None:
    """A tool's name is the model's, a message may quote anything."""
    run = replace(RUN, status="failed", finished_at=NOW, error_code="x", error_message="a\n" * 5000)
    told = log(answered(2, "", "n\n" * 500), tool(2, 0, "n\n" * 500))
    assert explain(facts(run)).text.count("\n") == 3
    assert len(explain(facts(RUN, told)).now) < 400


if __name__ == "__main__":
    GOLDEN.write_text(told(CASES.items()), encoding="utf-8")
