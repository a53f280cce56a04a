"""Runs on the wire."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from libs.database.runs import NewRun, Recorded, RunRow
from libs.domain.agents import Limits
from libs.domain.errors import InvalidRequest
from libs.domain.money import plain
from libs.domain.texts import dump
from services.api.schemas.shared import Answered, Number, Sent, Slug, Text, rfc3339, spliced

RunStatus = Literal[
    "queued", "running", "waiting", "pausing", "paused", "cancelling", "completed", "failed", "cancelled"
]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]{1,63}$")]
LabelValue = Annotated[Text, StringConstraints(max_length=255)]
_LABEL = re.compile(r"([a-z0-9_.-]{1,63}):([^\x00]{0,255})")
_NO_USAGE = {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0}


class RunCreate(Sent):
    """A run to be made. Over 64 KiB of input are kept in the object store and come back the same."""

    agent: Slug
    input: Any = Field(description="any JSON value; a string is the user's message")
    version: Number | None = Field(default=None, description="default: the promoted version")
    limits: Limits | None = Field(default=None, description="they tighten the version's, limit by limit")
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=20)
    priority: Annotated[int, Field(ge=1, le=5, strict=True, description="1 goes first")] = 3


class RunControl(Sent):
    reason: Annotated[Text, StringConstraints(max_length=1000)] | None = None


class RunUsage(Answered):
    """Tokens by the provider's count; `estimated` when at least one call's had to be estimated."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: str = Field(pattern=r"^\d+(\.\d+)?$", examples=["0.00042"])
    estimated: bool
    unpriced_calls: int = Field(description="model calls that had no price: they count as 0 USD")


class RunFailure(Answered):
    code: str
    message: str


class RunSummary(Answered):
    """A run without its content, as lists show it."""

    id: str
    agent: str
    version: int
    status: RunStatus
    waiting_for: str | None
    desired: Literal["run", "paused", "cancelled"]
    error: RunFailure | None
    usage: RunUsage
    steps: int = Field(description="model calls that were answered")
    labels: dict[str, str]
    priority: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    last_seq: int = Field(description="seq of the run's last event")


class RunRead(RunSummary):
    input: Any
    output: Any = Field(
        description="an object when the version has an output_schema, else a string; null before the end"
    )


class RunPage(Answered):
    items: list[RunSummary]
    next_cursor: str | None


def run_json(row: RunRow, **content: str) -> str:
    """`content` is JSON text of `input` and `output`, where wanted."""
    fields = {
        "id": str(row.id),
        "agent": row.agent,
        "version": row.version,
        "status": row.status,
        "waiting_for": row.waiting_for,
        "desired": row.desired,
        "error": {"code": row.error_code, "message": row.error_message or ""} if row.error_code else None,
        "usage": {
            "input_tokens": row.input_tokens,
            "cached_input_tokens": row.cached_input_tokens,
            "output_tokens": row.output_tokens,
            "reasoning_tokens": row.reasoning_tokens,
            "cost_usd": plain(row.cost),
            "estimated": row.estimated,
            "unpriced_calls": row.unpriced_calls,
        },
        "steps": row.turn,
        "priority": row.priority,
        "created_by": row.created_by,
        "created_at": rfc3339(row.created_at),
        "started_at": rfc3339(row.started_at),
        "finished_at": rfc3339(row.finished_at),
        "deadline_at": rfc3339(row.deadline_at),
        "last_seq": row.last_seq,
    }
    return spliced(fields, labels=row.labels, **content)


def new_run_json(agent: str, run: NewRun, recorded: Recorded, input_text: str) -> str:
    """A run as it was when it was accepted, whatever it is now: also what a repeated request is answered with."""
    fields = {
        "id": str(recorded.id),
        "agent": agent,
        "version": run.version,
        "status": "queued",
        "waiting_for": None,
        "desired": "run",
        "error": None,
        "usage": {**_NO_USAGE, "cost_usd": "0", "estimated": False, "unpriced_calls": 0},
        "steps": 0,
        "priority": run.priority,
        "created_by": run.by,
        "created_at": rfc3339(recorded.created_at),
        "started_at": None,
        "finished_at": None,
        "deadline_at": rfc3339(recorded.deadline_at),
        "last_seq": 1,
        "output": None,
    }
    return spliced(fields, labels=run.labels, input=input_text)


def labels_json(texts: list[str]) -> str:
    """Labels as the query names them, `key:value`, as JSON text. Raises `InvalidRequest`."""
    found: dict[str, str] = {}
    for text in texts:
        match = _LABEL.fullmatch(text)
        if match is None or found.get(match[1], match[2]) != match[2]:
            raise InvalidRequest("The query parameter `label` must be key:value, each key once.")
        found[match[1]] = match[2]
    return dump(found)
