"""Users of a tenant and blocks on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from libs.database.blocked_subjects import BlockRow
from services.api.schemas.shared import Answered, Sent, Text, rfc3339, to_json

SUBJECT = r"^[\x20-\x7e]{1,255}$"
Reason = Annotated[Text, StringConstraints(max_length=1000)]


class BlockCreate(Sent):
    reason: Reason = Field(default="", description="why, for the next operator")


class BlockRead(Answered):
    """A subject whose every request and open stream is refused, whatever its token says."""

    subject: str
    reason: str
    blocked_by: str
    blocked_at: datetime


class BlockPage(Answered):
    items: list[BlockRead]
    next_cursor: str | None


def block_json(row: BlockRow) -> str:
    return to_json({"subject": row.subject, "reason": row.reason, "blocked_by": row.by, "blocked_at": rfc3339(row.at)})
