"""The calls about runs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, walk
from agent_runtime.explanations import explain_run
from agent_runtime.failures import WaitExpired
from agent_runtime.following import follow_run
from agent_runtime.messages import Request, get, post, present, send
from agent_runtime.models import Artifact, Erasure, Event, Limits, Run
from agent_runtime.retry import Retry
from agent_runtime.scores import list_scores, score_run
from agent_runtime.steps import Conversation, Flow, Plan, Wait

LONG_POLL = 30  # seconds of one ?wait=; the API takes up to 60
GRACE = 15.0  # seconds that an answer may take beyond its wait


def start_run(
    agent: str,
    input: Any,
    *,
    version: int | None = None,
    limits: Limits | None = None,
    labels: Mapping[str, str] | None = None,
    priority: int | None = None,
    idempotency_key: str | None = None,
) -> Plan[Run]:
    """Start a run of an agent (by slug) and return it, accepted and durable.

    `input` is any JSON value; a string is the user's message. Without `version` the promoted one runs. `priority` is
    1 (first) to 5. At most 20 `labels`. The same `idempotency_key` (else a fresh one) never starts a second run.

    Raises `NotFound` (agent or version), `AgentArchived`, `NoPromotedVersion`, `InvalidRequest`, `PayloadTooLarge`.
    """
    options = present(version=version, limits=limits, labels=labels, priority=priority)
    body = {"agent": agent, "input": input, **options}
    return ask(post("runs", body=body, key=idempotency_key), Run.received)


def get_run(run_id: str, *, wait: float = 0) -> Plan[Run]:
    """One run. With `wait` (0 to 60 seconds) the answer comes when the run has ended, or at the end of the wait.

    Raises `NotFound`.
    """
    return ask(_poll(run_id, wait), Run.received)


def list_runs(
    *,
    agent: str | None = None,
    status: str | Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    page_size: int = 50,
) -> Flow[Run]:
    """Runs, newest first, without their input and output; pages of `page_size` (1 to 200) are fetched as needed.

    A run must have one of the statuses and all of the labels. Raises `InvalidRequest`.
    """
    statuses = [status] if isinstance(status, str) else status or []
    params: list[tuple[str, object]] = [("agent", agent), *(("status", each) for each in statuses)]
    params += [("label", f"{key}:{value}") for key, value in (labels or {}).items()]
    params += [("created_after", created_after), ("created_before", created_before), ("limit", page_size)]
    return walk(get("runs", params=params), Run)


def pause_run(run_id: str, *, reason: str | None = None, idempotency_key: str | None = None) -> Plan[Run]:
    """Ask a run to stop at its next safe point; it says `pausing` until it has. Raises `NotFound`, `RunFinished`."""
    return _control(run_id, "pause", reason, idempotency_key)


def resume_run(run_id: str, *, reason: str | None = None, idempotency_key: str | None = None) -> Plan[Run]:
    """Let a paused run go on. Raises `NotFound`, `RunFinished`."""
    return _control(run_id, "resume", reason, idempotency_key)


def cancel_run(run_id: str, *, reason: str | None = None, idempotency_key: str | None = None) -> Plan[Run]:
    """Ask a run to end; it says `cancelling` until it has. Raises `NotFound`, `RunFinished`."""
    return _control(run_id, "cancel", reason, idempotency_key)


def delete_run(run_id: str) -> Plan[Erasure]:
    """Erase a run that has ended, with everything it left anywhere; the erasure tells how far that has come.

    Raises `NotFound`, `Conflict` (it has not ended: cancel it first).
    """
    return ask(send("DELETE", "runs", run_id), Erasure.received)


def list_events(run_id: str, after: int = 0, *, page_size: int = 500) -> Flow[Event]:
    """The events that a run has now, after number `after`, in order. Raises `NotFound`."""
    return walk(get("runs", run_id, "events", params=[("after", after), ("limit", page_size)]), Event, cursor="after")


def list_run_artifacts(run_id: str, *, page_size: int = 50) -> Flow[Artifact]:
    """The files that a run made. Raises `NotFound`."""
    return walk(get("runs", run_id, "artifacts", params=[("limit", page_size)]), Artifact)


def wait_for_run(run_id: str, timeout: float | None = None) -> Plan[Run]:
    """Wait until a run has ended and return it, whatever its end; check `succeeded` or `status`.

    `timeout` is in seconds, None for as long as it takes. Raises `WaitExpired` (the run goes on), `NotFound`.
    """

    def converse(retry: Retry) -> Conversation[Run]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            began = time.monotonic()
            span = math.ceil(min(LONG_POLL, max(0.0, deadline - began)))
            run = yield from get_run(run_id, wait=span).converse(retry)
            if run.finished:
                return run
            if time.monotonic() >= deadline:
                raise WaitExpired(run)
            if time.monotonic() - began < span / 2:  # a server that is stopping answers early
                yield Wait(0.5)

    return Plan(converse)


def run_to_end(
    agent: str,
    input: Any,
    *,
    timeout: float | None = None,
    version: int | None = None,
    limits: Limits | None = None,
    labels: Mapping[str, str] | None = None,
    priority: int | None = None,
    idempotency_key: str | None = None,
) -> Plan[Run]:
    """Start a run and wait until it has ended: `start` and `wait` in one; the parameters and errors are theirs."""
    start = start_run(
        agent,
        input,
        version=version,
        limits=limits,
        labels=labels,
        priority=priority,
        idempotency_key=idempotency_key,
    )

    def converse(retry: Retry) -> Conversation[Run]:
        run = yield from start.converse(retry)
        return (yield from wait_for_run(run.id, timeout).converse(retry))

    return Plan(converse)


def _poll(run_id: str, wait: float) -> Request:
    seconds = math.ceil(wait)
    params = [("wait", seconds)] if seconds > 0 else []
    return get("runs", run_id, params=params, read_timeout=seconds + GRACE if params else None)


def _control(run_id: str, action: str, reason: str | None, key: str | None) -> Plan[Run]:
    return ask(post("runs", run_id, action, body=present(reason=reason), key=key), Run.received)


class Runs(Noun):
    """`client.runs`"""

    start = Call(start_run)
    get = Call(get_run)
    explain = Call(explain_run)
    list = Items(list_runs)
    pause = Call(pause_run)
    resume = Call(resume_run)
    cancel = Call(cancel_run)
    delete = Call(delete_run)
    events = Items(list_events)
    follow = Items(follow_run)
    artifacts = Items(list_run_artifacts)
    score = Call(score_run)
    scores = Items(list_scores)
    wait = Call(wait_for_run)
    run = Call(run_to_end)


class AsyncRuns(AsyncNoun):
    """`client.runs`"""

    start = AsyncCall(start_run)
    get = AsyncCall(get_run)
    explain = AsyncCall(explain_run)
    list = AsyncItems(list_runs)
    pause = AsyncCall(pause_run)
    resume = AsyncCall(resume_run)
    cancel = AsyncCall(cancel_run)
    delete = AsyncCall(delete_run)
    events = AsyncItems(list_events)
    follow = AsyncItems(follow_run)
    artifacts = AsyncItems(list_run_artifacts)
    score = AsyncCall(score_run)
    scores = AsyncItems(list_scores)
    wait = AsyncCall(wait_for_run)
    run = AsyncCall(run_to_end)
