"""What observers refused, on the wire."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from libs.database.refusals import Refusal
from services.api.schemas.shared import Answered, Sent, rfc3339, to_json


class RefusalRead(Answered):
    """One item. `item` of kind `traces` is FIRST-LAST: the events whose spans were refused."""

    id: UUID
    kind: str
    run_id: UUID
    item: str
    project: str
    status: int | None
    reason: str
    attempts: int
    refused_at: datetime
    retrying: bool


class RefusalPage(Answered):
    items: list[RefusalRead]
    next_cursor: str | None


class RefusalRetry(Sent):
    run_id: UUID | None = Field(default=None, description="what is of this run only")


class RetriesAsked(Answered):
    items: int


def refusal_json(row: Refusal) -> str:
    return to_json(
        {
            "id": str(row.id),
            "kind": row.kind,
            "run_id": str(row.run_id),
            "item": row.item,
            "project": row.project,
            "status": row.status,
            "reason": row.reason,
            "attempts": row.attempts,
            "refused_at": rfc3339(row.refused_at),
            "retrying": row.retry_at is not None,
        }
    )
