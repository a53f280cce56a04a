"""What happened so far, in words: failed attempts and why, who worked on the run, where its time and money went."""

from __future__ import annotations

from libs.domain import events
from libs.domain.explanation.facts import Facts, Reason
from libs.domain.explanation.measures import (
    counted,
    listed,
    moment,
    money,
    name,
    number,
    sentence,
    span,
    status,
    worker,
)

NAMED_REASONS = 4


def retries(facts: Facts) -> str:
    """Why attempts were repeated; empty when none was."""
    log = facts.log
    count = sum(reason.count for reason in log.reasons)
    if not count:
        return ""
    text = f"{counted(count, 'attempt')} ended without a result: {listed(map(_reason, log.reasons), NAMED_REASONS)}."
    if log.failures:
        last = log.failures[0]
        what = f"{last.kind} {name(last.name)}" if last.name else last.kind
        at = moment(last.at, facts.run.now)
        text += f" {'The last of them' if count > 1 else 'It'} ({what}, turn {last.turn}) ended at {at}"
        text += f": {sentence(last.message)}" if last.message else "."
    return text


def _reason(reason: Reason) -> str:
    meaning = _MEANINGS.get(reason.code) or status(reason.code)
    return f"{meaning} ({reason.kind}{f', {number(reason.count)} times' if reason.count > 1 else ''})"


_MEANINGS = {
    events.WORKER_LOST: "worker lost",
    events.HANDED_BACK: "handed to another step",
    events.STOPPED: "stopped on request",
    "not_sent": "not sent",
    "refused": "refused",
    "outcome_unknown": "outcome unknown",
    "provider_unreachable": "provider unreachable",
    "model_timeout": "no complete answer in time",
    "stream_silent": "provider fell silent",
    "stream_cut": "answer cut off",
    "stream_broken": "connection broken",
    "bad_answer": "answer not understood",
    "secrets_unavailable": "secrets unavailable",
}


def work(facts: Facts) -> str:
    """Attempts and workers."""
    counts, log = facts.log.counts, facts.log
    calls, tried = facts.run.turn, counts.get(events.MODEL_STARTED, 0)
    tools, tools_tried = counts.get(events.TOOL_COMPLETED, 0), counts.get(events.TOOL_STARTED, 0)
    if not tried and not tools_tried:
        return "No model and no tool was called yet."
    text = f"{counted(calls, 'model call was answered', 'model calls were answered')} in {counted(tried, 'attempt')}"
    if tools or tools_tried:
        text += f", {counted(tools, 'tool call')} got a result in {counted(tools_tried, 'attempt')}"
    names = [worker(each.label) for each in log.workers]
    if names:
        text += f"; on {counted(len(names), 'worker')}: {listed(dict.fromkeys(names))}"
    return f"{text}."


def time(facts: Facts) -> str:
    """Where the time since acceptance went."""
    run, seconds = facts.run, facts.log.seconds
    total = ((run.finished_at or run.now) - run.created_at).total_seconds()
    parts = [
        f"{span(spent)} {where}"
        for spent, where in (
            (seconds.model, "in model calls"),
            (seconds.tools, "in tools"),
            (seconds.queue, "waiting for a place or a worker"),
            (seconds.paused, "paused"),
            (seconds.retry, "waiting to try again"),
            (seconds.lost, "on workers that went away"),
        )
        if spent >= 0.05
    ]
    took = f"It took {span(total)}" if run.finished else f"It was accepted {span(total)} ago"
    return f"{took}, of which it spent {listed(parts, 6)}." if parts else f"{took}."


def bill(facts: Facts) -> str:
    """Tokens and cost."""
    run = facts.run
    if not run.input_tokens and not run.output_tokens and not run.cost:
        return "It has cost nothing so far." if not run.finished else "It cost nothing."
    cached = f" ({number(run.cached_input_tokens)} of them cached)" if run.cached_input_tokens else ""
    estimated = ", a part of it estimated because the provider's count never arrived" if run.estimated else ""
    unpriced = f" {counted(run.unpriced_calls, 'model call')} had no price." if run.unpriced_calls else ""
    return (
        f"{counted(run.input_tokens, 'input token')}{cached} and {counted(run.output_tokens, 'output token')} "
        f"cost {money(run.cost)}{estimated}.{unpriced}"
    )
