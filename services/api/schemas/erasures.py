"""Erasures on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from libs.database.erasures import ErasureRow
from services.api.schemas.shared import Answered, rfc3339, spliced

Counts = dict[str, int]


class ErasureRead(Answered):
    """What is erased, how far that has come, and what the last check found."""

    id: str
    kind: Literal["run", "subject", "tenant", "retention"]
    run_id: str | None
    user: str | None = Field(description="whose data it is: the `sub` of its tokens")
    tenant: str | None = Field(description="slug of a whole tenant")
    finished_before: datetime | None = Field(description="runs that had ended and files that were uploaded before")
    status: Literal["pending", "running", "done"]
    waiting_for: str | None = Field(description="a store that is away, runs that have not ended; it goes on by itself")
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    found: Counts | None = Field(description="by store, before anything was removed; of many objects at least so many")
    removed: Counts = Field(description="by store, until now")
    remaining: Counts | None = Field(description="by store, at the last check; all zero when it is done")
    checked_at: datetime | None


class ErasurePage(Answered):
    items: list[ErasureRead]
    next_cursor: str | None


def erasure_json(row: ErasureRow) -> str:
    fields = {
        "id": str(row.id),
        "kind": row.kind,
        "run_id": str(row.run_id) if row.run_id else None,
        "user": row.subject,
        "tenant": row.slug,
        "finished_before": rfc3339(row.finished_before),
        "status": _status(row),
        "waiting_for": row.waiting_for,
        "requested_by": row.requested_by,
        "created_at": rfc3339(row.created_at),
        "started_at": rfc3339(row.started_at),
        "finished_at": rfc3339(row.finished_at),
        "checked_at": rfc3339(row.checked_at),
    }
    return spliced(fields, found=row.found or "null", removed=row.removed, remaining=row.remaining or "null")


def _status(row: ErasureRow) -> str:
    if row.finished_at is not None:
        return "done"
    return "pending" if row.started_at is None else "running"
