"""Explanations of runs: their documents, and the call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from agent_runtime.delivery import ask
from agent_runtime.messages import get
from agent_runtime.models import Document, Usage
from agent_runtime.steps import Plan


class RunNow(Document):
    """What a run is doing or waiting for: `code` is stable, `until` is there where the end is known.

    `by` and `reason` tell who asked for it, `details` what the code brings with it.
    """

    code: str
    text: str
    since: datetime | None = None
    until: datetime | None = None
    by: str | None = None
    reason: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class RunAction(Document):
    """What somebody can do now; `command` is None where it is up to somebody else."""

    text: str
    command: str | None = None
    operation: str | None = None


class Explanation(Document):
    """Why a run stands where it stands, of the moment `at`; `text` is all of it in words, a paragraph a line.

    `retries`, `attempts`, `workers`, `seconds` hold the same as data; docs/explain.md tells what is in them.
    """

    run_id: str
    status: str
    text: str
    now: RunNow
    at: datetime | None = None
    agent: str | None = None
    version: int | None = None
    retries: dict[str, Any] = Field(default_factory=dict)
    attempts: dict[str, int] = Field(default_factory=dict)
    workers: list[dict[str, Any]] = Field(default_factory=list)
    workers_alive: int = 0
    seconds: dict[str, float] = Field(default_factory=dict)
    usage: Usage = Usage()
    actions: list[RunAction] = Field(default_factory=list)


def explain_run(run_id: str) -> Plan[Explanation]:
    """Why a run stands where it stands: what it does or waits for and since when, what was retried, what to do now.

    It is answered also while no worker is alive or Temporal is down. Raises `NotFound`.
    """
    return ask(get("runs", run_id, "explain"), Explanation.received)
