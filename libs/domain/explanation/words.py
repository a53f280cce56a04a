"""The sentences of an explanation, all in this place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from libs.domain.explanation.facts import COUNTED_AT_MOST, Facts, Situation
from libs.domain.explanation.measures import (
    ago,
    ahead,
    counted,
    listed,
    moment,
    name,
    number,
    quoted,
    sentence,
    span,
    status,
)
from libs.domain.explanation.measures import worker as worker_name

NOTHING_LOST = "Nothing in its log is lost or repeated."


def describe(found: Situation, facts: Facts) -> str:
    """What the run is doing or waiting for, in one to four sentences."""
    return " ".join(_SAYINGS[found.code](found, facts).split())


def _completed(found: Situation, facts: Facts) -> str:
    return f"The run completed at {_end(facts)}."


def _failed(found: Situation, facts: Facts) -> str:
    code = facts.run.error_code or "unknown"
    return f"The run failed at {_end(facts)}, with {code}. {sentence(facts.run.error_message or 'No more is known')}"


def _cancelled(found: Situation, facts: Facts) -> str:
    asked = f"{_who(found, facts)} cancelled the run{_saying(found)}; it" if found.by else "The run was cancelled; it"
    return f"{asked} ended at {_end(facts)}."


def _end(facts: Facts) -> str:
    run = facts.run
    at = run.finished_at or run.now
    return f"{moment(at, run.now)}, {span(at - run.created_at)} after it was accepted"


def _paused(found: Situation, facts: Facts) -> str:
    return (
        f"{_who(found, facts)} paused the run{_saying(found)}; it has stood still since "
        f"{ago(found.since, facts.run.now)}. "
        "It goes on when somebody resumes it; until then it costs nothing and leaves its place to other runs."
    )


def _pausing(found: Situation, facts: Facts) -> str:
    return (
        f"{_who(found, facts)} asked the run to pause at {ago(found.since, facts.run.now)}{_saying(found)}. "
        + _until_stopped(found, "It pauses", "What is in flight is finished and kept: it may have been paid for.")
    )


def _cancelling(found: Situation, facts: Facts) -> str:
    return (
        f"{_who(found, facts)} asked the run to end at {ago(found.since, facts.run.now)}{_saying(found)}. "
        + _until_stopped(found, "It ends", "What is in flight is being stopped.")
    )


def _until_stopped(found: Situation, verb: str, in_flight: str) -> str:
    if found.details["no_worker"]:
        return f"{verb} as soon as a worker is there: at the moment none is alive."
    if found.details["in_flight"]:
        return f"{verb} when {_calls(found.details['in_flight'])} ended. {in_flight}"
    return f"{verb} at its next safe point, within moments: nothing of it is in flight."


def _resuming(found: Situation, facts: Facts) -> str:
    who = f"{_who(found, facts)} resumed the run" if found.by else "The run was resumed"
    return f"{who} at {ago(found.since, facts.run.now)}. A worker takes it up within moments."


def _waiting_for_place(found: Situation, facts: Facts) -> str:
    run, place = facts.run, facts.run.place
    text = f"The run has been waiting for its turn since {ago(found.since, run.now)}"
    if place is None:
        return f"{text}."
    waiting = max(place.waiting, place.ahead + 1)
    most = "more than " if place.ahead >= COUNTED_AT_MOST else ""
    text += f": it is number {most}{number(place.ahead + 1)} of {most}{number(waiting)} in its tenant's queue."
    if place.limit is None or place.running < place.limit:
        return f"{text} A place is free: workers admit runs several times a second.{_idle(facts)}"
    return (
        f"{text} The plan “{name(run.plan)}” allows {counted(place.limit, 'run')} at once, and "
        f"{'that place is' if place.limit == 1 else 'all those places are'} taken. "
        f"Runs of priority 1 go first, then older ones before newer ones; this one has priority {run.priority}."
        f"{_idle(facts)}"
    )


def _idle(facts: Facts) -> str:
    return " No worker is alive at the moment, and only workers admit runs." if facts.alive.count == 0 else ""


def _tenant_suspended(found: Situation, facts: Facts) -> str:
    if facts.run.tenant_status == "deleting":
        return "The tenant is being deleted. The run is cancelled and erased with it."
    flight = found.details["in_flight"]
    stands = f"This one has stood still since {ago(found.since, facts.run.now)}."
    if flight:
        stands = f"This one stops when {_calls(flight)} ended."
    return (
        f"The administrator of the platform suspended the tenant, and none of its runs goes on. {stands} "
        "It goes on by itself when the tenant is active again. "
        f"{NOTHING_LOST}"
    )


def _no_worker(found: Situation, facts: Facts) -> str:
    now, seen = facts.run.now, found.details["last_seen_at"]
    text = "No worker is alive"
    if seen is not None:
        text += f": the last one, {name(found.details['last_worker'] or 'unnamed')}, was seen at {ago(seen, now)}"
    if found.details["interrupted"]:
        text += f". It went away during {_calls(found.details['interrupted'], '')}"
    stands = "has not begun" if facts.run.started_at is None else f"stands after {_turns(facts)}"
    return (
        f"{text}. The run {stands} and has been waiting since {moment(found.since, now)}; it goes on by "
        f"itself as soon as a worker is there. {NOTHING_LOST}"
    )


def _turns(facts: Facts) -> str:
    return counted(facts.run.turn, "answered model call") if facts.run.turn else "its start"


def _worker_lost(found: Situation, facts: Facts) -> str:
    call = found.details["interrupted"][0]
    return (
        f"The worker {worker_name(call['worker'])} went away during {_calls([call], '')}: it was last seen at "
        f"{ago(found.since, facts.run.now)}. {counted(facts.alive.count, 'other worker is', 'other workers are')} "
        f"alive; one of them takes over as soon as Temporal gives the step up, usually within 10 s. {NOTHING_LOST}"
    )


def _model_call(found: Situation, facts: Facts) -> str:
    call = found.details["in_flight"][0]
    return (
        f"The run has been waiting for the model {name(call['name'])} to answer since "
        f"{ago(found.since, facts.run.now)}: turn {call['turn']}, attempt {call['attempt']}, "
        f"on {worker_name(call['worker'])}."
    )


def _tools(found: Situation, facts: Facts) -> str:
    calls = found.details["in_flight"]
    since = ago(found.since, facts.run.now)
    if len(calls) == 1:
        call = calls[0]
        return (
            f"The run has been waiting for the tool {name(call['name'])} since {since}: turn {call['turn']}, "
            f"attempt {call['attempt']}, on {worker_name(call['worker'])}."
        )
    named = listed(name(call["name"]) for call in calls)
    return (
        f"The run has been waiting for {len(calls)} tool calls of turn {calls[0]['turn']}, {named}; "
        f"for the longest of them since {since}."
    )


def _provider_limit(found: Situation, facts: Facts) -> str:
    now, call, until = facts.run.now, found.details, found.until or facts.run.now
    return (
        f"The provider of {name(call['name'])} takes no calls until {ahead(until, now)}: it answered "
        f"{status(call['code'])} at {ago(found.since, now)} and named that time itself. "
        f"{_next_attempt(call)} Until then it keeps no worker busy."
    )


def _model_retry(found: Situation, facts: Facts) -> str:
    now, call, until = facts.run.now, found.details, found.until or facts.run.now
    return (
        f"The call of the model {name(call['name'])} failed at {ago(found.since, now)}. "
        f"{sentence(call['message'] or status(call['code']))} {_again(call, ahead(until, now))}"
    )


def _tool_retry(found: Situation, facts: Facts) -> str:
    now, call, until = facts.run.now, found.details, found.until or facts.run.now
    return (
        f"The call of the tool {name(call['name'])} failed at {ago(found.since, now)}. "
        f"{sentence(call['message'] or status(call['code']))} {_again(call, ahead(until, now))}"
    )


def _next_attempt(call: dict[str, Any] | Any) -> str:
    return f"Then the run tries again by itself: attempt {call['attempt'] + 1} of turn {call['turn']}."


def _again(call: dict[str, Any] | Any, when: str) -> str:
    return f"It is tried again by itself at {when}, as attempt {call['attempt'] + 1} of turn {call['turn']}."


def _starting(found: Situation, facts: Facts) -> str:
    now, waited = facts.run.now, facts.run.now - found.since
    if waited.total_seconds() < 5:
        return f"The run got its place at {ago(found.since, now)}; a worker takes it up within moments."
    return f"The run got its place at {ago(found.since, now)}, but no worker has begun it. {_temporal(found, facts)}"


def _between_steps(found: Situation, facts: Facts) -> str:
    now, pending = facts.run.now, found.details["pending"]
    step = f"the call of {listed(name(each) for each in pending)}" if pending else f"turn {facts.run.turn + 1}"
    if (now - found.since).total_seconds() < 5:
        return f"The run is between two steps: {step} is next, and a worker takes it up within moments."
    text = f"The next step of the run, {step}, has waited for a worker since {ago(found.since, now)}. "
    if found.details["losses"] > 1:
        text += f"The last {found.details['losses']} workers died of this step, so it is tried apart from other runs. "
    return text + _temporal(found, facts)


def _temporal(found: Situation, facts: Facts) -> str:
    next_look = found.details["next_check_at"]
    looks = f" Workers looked after it {counted(found.details['checks'], 'time')}" if found.details["checks"] else ""
    coming = f"; the next look is at {ahead(next_look, facts.run.now)}" if looks and next_look > facts.run.now else ""
    return (
        f"{counted(facts.alive.count, 'worker is', 'workers are')} alive, so either they are all busy, or Temporal, "
        "which hands out the steps, does not answer. In both cases the run goes on by itself once that is over."
        f"{looks + coming + '.' if looks else ''}"
    )


def _overdue(found: Situation, facts: Facts) -> str:
    return (
        f"The time of the run (limits.seconds) was up at {ago(found.since, facts.run.now)}. "
        "It ends as deadline_exceeded with its next step."
    )


def _waiting(found: Situation, facts: Facts) -> str:
    what = name(str(found.details["waiting_for"] or "something"))
    return f"The run has been waiting for {what} since {ago(found.since, facts.run.now)}."


def _calls(calls: list[dict[str, Any]], verb: str = "has") -> str:
    """The calls, with the verb of a subordinate clause in their number; without one as an object."""
    if len(calls) > 1:
        named = f"the calls of the tools {listed(name(call['name']) for call in calls)} (turn {calls[0]['turn']})"
        return f"{named} have" if verb else named
    call = calls[0]
    what = "model" if call["kind"] == "model" else "tool"
    named = f"the call of the {what} {name(call['name'])} (turn {call['turn']}, attempt {call['attempt']})"
    return f"{named} {verb}" if verb else named


def _who(found: Situation, facts: Facts) -> str:
    if found.by is None:
        return "Somebody"
    return "You" if found.by == facts.caller else name(found.by)


def _saying(found: Situation) -> str:
    return f", saying {quoted(found.reason)}" if found.reason else ""


_SAYINGS: dict[str, Callable[[Situation, Facts], str]] = {
    "completed": _completed,
    "failed": _failed,
    "cancelled": _cancelled,
    "paused": _paused,
    "pausing": _pausing,
    "cancelling": _cancelling,
    "resuming": _resuming,
    "waiting_for_place": _waiting_for_place,
    "tenant_suspended": _tenant_suspended,
    "no_worker": _no_worker,
    "worker_lost": _worker_lost,
    "model_call": _model_call,
    "tools": _tools,
    "provider_limit": _provider_limit,
    "model_retry": _model_retry,
    "tool_retry": _tool_retry,
    "starting": _starting,
    "between_steps": _between_steps,
    "overdue": _overdue,
    "waiting": _waiting,
}
SITUATIONS = tuple(_SAYINGS)
