"""Explanations on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from libs.domain import events
from libs.domain.explanation.explanations import Explanation
from libs.domain.explanation.facts import Facts, Failed, Worked
from libs.domain.money import plain
from services.api.schemas.runs import RunUsage
from services.api.schemas.shared import Answered, rfc3339, to_json


class NowRead(Answered):
    """What the run is doing or waiting for. `since` says how long, `until` when it is over where that is known."""

    code: str = Field(description="stable; what programs decide by", examples=["provider_limit"])
    text: str
    since: datetime
    until: datetime | None
    by: str | None = Field(description="who asked for it, where somebody did")
    reason: str | None
    details: dict[str, Any] = Field(description="what the code brings with it, as docs/explain.md tells")


class FailedRead(Answered):
    """An attempt without a result."""

    kind: str = Field(description="model or tool")
    turn: int
    index: int | None = Field(description="of the tool call within its turn")
    attempt: int
    name: str | None
    worker: str | None
    code: str
    message: str
    at: datetime
    retry_at: datetime | None = Field(description="when it was tried again, where the log holds it")


class ReasonRead(Answered):
    kind: str
    code: str
    count: int


class RetriesRead(Answered):
    """What was retried and why; `last` holds the latest attempts that failed, newest first, ten at most."""

    text: str
    count: int
    reasons: list[ReasonRead]
    last: list[FailedRead]


class AttemptsRead(Answered):
    """Model calls and tool calls that have a result, and the attempts made at them."""

    model_calls: int
    model_attempts: int
    tool_calls: int
    tool_attempts: int


class WorkerRead(Answered):
    """A worker process that made attempts of the run; the latest twenty."""

    worker: str
    alive: bool
    seen_at: datetime | None
    attempts: int
    first_at: datetime
    last_at: datetime


class TimeRead(Answered):
    """Seconds since the run was accepted, divided; what remains is the platform's own, between steps."""

    total: float
    model: float
    tools: float
    waiting: float = Field(description="the sum of the following four")
    queue: float = Field(description="for a place or a worker")
    paused: float
    retry: float = Field(description="between a failed attempt and the next")
    lost: float = Field(description="in attempts whose worker went away")


class ActionRead(Answered):
    """What somebody can do now; `command` is null where it is up to somebody else."""

    text: str
    command: str | None
    operation: str | None = Field(description="the operation of this API that the command uses")


class ExplanationRead(Answered):
    """Why a run stands where it stands, of the moment `at`, by the database's clock."""

    run_id: str
    agent: str
    version: int
    status: str
    at: datetime
    text: str = Field(description="all of it in words, a paragraph a line")
    now: NowRead
    retries: RetriesRead
    attempts: AttemptsRead
    workers: list[WorkerRead]
    workers_alive: int = Field(description="workers of the platform that could take the run's next step")
    seconds: TimeRead
    usage: RunUsage
    actions: list[ActionRead]


def explanation_json(facts: Facts, found: Explanation) -> str:
    run, situation = facts.run, found.situation
    return to_json(
        {
            "run_id": run.id,
            "agent": run.agent,
            "version": run.version,
            "status": run.status,
            "at": rfc3339(run.now),
            "text": found.text,
            "now": {
                "code": situation.code,
                "text": found.now,
                "since": rfc3339(situation.since),
                "until": rfc3339(situation.until),
                "by": situation.by,
                "reason": situation.reason,
                "details": _plain(situation.details),
            },
            "retries": _retries(facts, found),
            "attempts": _attempts(facts),
            "workers": [_worker(facts, each) for each in facts.log.workers],
            "workers_alive": facts.alive.count,
            "seconds": _seconds(facts),
            "usage": {
                "input_tokens": run.input_tokens,
                "cached_input_tokens": run.cached_input_tokens,
                "output_tokens": run.output_tokens,
                "reasoning_tokens": run.reasoning_tokens,
                "cost_usd": plain(run.cost),
                "estimated": run.estimated,
                "unpriced_calls": run.unpriced_calls,
            },
            "actions": [action._asdict() for action in found.actions],
        }
    )


def _retries(facts: Facts, found: Explanation) -> dict[str, Any]:
    return {
        "text": found.retries,
        "count": sum(reason.count for reason in facts.log.reasons),
        "reasons": [vars(reason) for reason in facts.log.reasons],
        "last": [_failed(each) for each in facts.log.failures],
    }


def _failed(each: Failed) -> dict[str, Any]:
    return {**vars(each), "at": rfc3339(each.at), "retry_at": rfc3339(each.retry_at)}


def _attempts(facts: Facts) -> dict[str, int]:
    counts = facts.log.counts
    return {
        "model_calls": facts.run.turn,
        "model_attempts": counts.get(events.MODEL_STARTED, 0),
        "tool_calls": counts.get(events.TOOL_COMPLETED, 0),
        "tool_attempts": counts.get(events.TOOL_STARTED, 0),
    }


def _worker(facts: Facts, each: Worked) -> dict[str, Any]:
    return {
        "worker": each.label,
        "alive": facts.lives(each.label),
        "seen_at": rfc3339(each.seen_at),
        "attempts": each.attempts,
        "first_at": rfc3339(each.first_at),
        "last_at": rfc3339(each.last_at),
    }


def _seconds(facts: Facts) -> dict[str, float]:
    run, seconds = facts.run, facts.log.seconds
    total = ((run.finished_at or run.now) - run.created_at).total_seconds()
    found = {"total": total, "waiting": seconds.waiting, **seconds._asdict()}
    return {name: round(spent, 3) for name, spent in found.items()}


def _plain(value: Any) -> Any:
    """Details as JSON: times as text."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
