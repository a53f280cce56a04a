"""What a run is doing or waiting for, decided from the facts; `words` says it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from libs.domain import events
from libs.domain.explanation.facts import Facts, Mark, Situation
from libs.domain.explanation.progress import Progress, Try, progress

PROVIDERS_LIMITS = frozenset({"http_429", "http_503", "http_529"})
HAND_OVER = timedelta(seconds=5)  # longer between two steps is no hand-over any more


def situation(facts: Facts) -> Situation:
    """The one that matters most: an end, then what somebody asked for, then what is missing, then the work itself."""
    run = facts.run
    if run.finished_at is not None:
        asked = facts.log.marks.get(events.RUN_CANCELLING) if run.status == "cancelled" else None
        return _asked(run.status, run.finished_at, asked)
    doing = progress(facts.log.recent)
    if run.desired == "cancelled":
        return _stopping(facts, doing, "cancelling", events.RUN_CANCELLING)
    if run.desired == "paused":
        if run.status == "paused":
            at = _mark(facts, events.RUN_PAUSED).at
            return _asked("paused", at, facts.log.marks.get(events.RUN_PAUSING))
        return _stopping(facts, doing, "pausing", events.RUN_PAUSING)
    if run.admitted_at is None:
        return _without_place(facts, doing)
    if facts.alive.count == 0:
        return _without_worker(facts, doing)
    return _working(facts, doing)


def _mark(facts: Facts, kind: str) -> Mark:
    return facts.log.marks.get(kind) or Mark(facts.run.created_at)


def _asked(code: str, since: datetime, mark: Mark | None, **details: Any) -> Situation:
    return Situation(code, since, by=mark.by if mark else None, reason=mark.reason if mark else None, details=details)


def _stopping(facts: Facts, doing: Progress, code: str, kind: str) -> Situation:
    """Asked to stop, and not there yet: what is still in flight."""
    mark = _mark(facts, kind)
    return _asked(code, mark.at, mark, in_flight=_in_flight(facts, doing), no_worker=facts.alive.count == 0)


def _in_flight(facts: Facts, doing: Progress) -> list[dict[str, Any]]:
    tries = [doing.open_model] if doing.open_model else doing.open_tools
    return [_described(each) for each in tries if facts.lives(each.worker)]


def _described(each: Try) -> dict[str, Any]:
    return {
        "kind": "model" if each.index is None else "tool",
        "name": each.name,
        "turn": each.turn,
        "attempt": each.number,
        "worker": each.worker,
        "since": each.at,
    }


def _without_place(facts: Facts, doing: Progress) -> Situation:
    run = facts.run
    parked = facts.log.marks.get(events.RUN_PAUSED)
    resumed = facts.log.marks.get(events.RUN_RESUMING)
    times = [mark.at for mark in (parked, resumed) if mark is not None]
    since = max(times, default=run.created_at)
    if run.tenant_status != "active":
        return Situation("tenant_suspended", since, details={"in_flight": _in_flight(facts, doing)})
    place = run.place
    details = {} if place is None else {"position": place.ahead + 1, **place._asdict()}
    return Situation("waiting_for_place", since, details=details)


def _without_worker(facts: Facts, doing: Progress) -> Situation:
    """Nobody can go on with it: since the last worker was seen, or since there was work for one."""
    waiting_since = max(facts.run.admitted_at or facts.run.created_at, doing.last_at or facts.run.created_at)
    seen = facts.alive.last_seen_at
    interrupted = [each for each in (doing.open_model, *doing.open_tools) if each is not None]
    since = waiting_since if seen is None else (seen if interrupted else max(seen, waiting_since))
    details = {
        "last_worker": facts.alive.last_name,
        "last_seen_at": seen,
        "interrupted": [_described(each) for each in interrupted],
    }
    return Situation("no_worker", since, details=details)


def _working(facts: Facts, doing: Progress) -> Situation:
    run = facts.run
    if run.status in ("pausing", "paused"):
        mark = facts.log.marks.get(events.RUN_RESUMING)
        since = max(run.admitted_at or run.created_at, mark.at if mark else run.created_at)
        return _asked("resuming", since, mark)
    open_tries = [doing.open_model] if doing.open_model else doing.open_tools
    living = [each for each in open_tries if facts.lives(each.worker)]
    if open_tries and not living:
        return _lost(facts, open_tries[0])
    if living:
        code = "model_call" if living[0].index is None else "tools"
        since = min(each.at for each in living)
        return Situation(code, since, details={"in_flight": [_described(each) for each in living]})
    if run.deadline_at is not None and run.now >= run.deadline_at:
        return Situation("overdue", run.deadline_at)
    return _between(facts, doing)


def _lost(facts: Facts, lost: Try) -> Situation:
    seen = next((worker.seen_at for worker in facts.log.workers if worker.label == lost.worker), None)
    return Situation(
        "worker_lost", max(seen, lost.at) if seen else lost.at, details={"interrupted": [_described(lost)]}
    )


def _between(facts: Facts, doing: Progress) -> Situation:
    """Nothing is in flight: it waits to be tried again, or for a worker to take the next step."""
    run = facts.run
    failed, until = doing.failed_model, doing.model_retry_at
    if failed is not None and until is not None and failed.ended_at is not None and run.now < until + HAND_OVER:
        limited = failed.code in PROVIDERS_LIMITS and failed.retry_at is not None
        return Situation("provider_limit" if limited else "model_retry", failed.ended_at, until, details=_why(failed))
    tools = [each for each in doing.failed_tools if each.retry_at and run.now < each.retry_at + HAND_OVER]
    if tools:
        first = min(tools, key=lambda each: each.retry_at or run.now)
        return Situation("tool_retry", first.ended_at or first.at, first.retry_at, details=_why(first))
    if run.started_at is None:
        details = {"checks": run.checks, "next_check_at": run.next_check_at}
        return Situation("starting", run.admitted_at or run.created_at, details=details)
    if run.status == "waiting":
        return Situation("waiting", doing.last_at or run.started_at, details={"waiting_for": run.waiting_for})
    since = doing.last_at or run.started_at
    details = {"checks": run.checks, "next_check_at": run.next_check_at, "losses": doing.losses}
    details["pending"] = list(doing.calls.values())
    return Situation("between_steps", since, details=details)


def _why(failed: Try) -> dict[str, Any]:
    return {**_described(failed), "code": failed.code, "message": failed.message}
