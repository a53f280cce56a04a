"""Scores of runs: their document, and the calls about them."""

from __future__ import annotations

from datetime import datetime

from agent_runtime.delivery import ask, walk
from agent_runtime.messages import get, post, present
from agent_runtime.models import Document
from agent_runtime.steps import Flow, Plan


class Score(Document):
    """What somebody thinks of a run; `value` is a number, true or false, or a category."""

    id: str
    run_id: str
    name: str
    value: bool | float | str
    comment: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None


def score_run(
    run_id: str,
    name: str,
    value: bool | float | str,
    *,
    comment: str | None = None,
    idempotency_key: str | None = None,
) -> Plan[Score]:
    """Score a run: a number, true or false, or a category, with a comment. The same key never scores twice.

    Raises `NotFound`, `InvalidRequest`.
    """
    body = {"name": name, "value": value, **present(comment=comment)}
    return ask(post("runs", run_id, "scores", body=body, key=idempotency_key), Score.received)


def list_scores(run_id: str, *, page_size: int = 50) -> Flow[Score]:
    """The scores of a run, newest first. Raises `NotFound`."""
    return walk(get("runs", run_id, "scores", params=[("limit", page_size)]), Score)
