"""Re-ratings on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from libs.database.re_ratings import ReRatingRow
from libs.domain.money import plain
from services.api.schemas.prices import ModelName, ProviderName
from services.api.schemas.shared import Answered, KeptMoment, Sent, rfc3339, to_json
from services.api.schemas.usage import MONEY


class ReRatingCreate(Sent):
    """Calls that are to be priced again, at what is known now to have been in force when they were opened."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_alias=True, validate_by_name=False)

    provider: ProviderName
    model: ModelName = Field(default="*", description='"*": every model of the provider')
    since: KeptMoment = Field(alias="from")
    until: KeptMoment | None = Field(
        default=None, alias="to", description="not included; default, and at the most: now"
    )


class ReRatingRead(Answered):
    id: str
    provider: str
    model: str
    since: datetime
    until: datetime
    status: Literal["working", "done"]
    calls: int = Field(description="that were looked at")
    corrected: int = Field(description="that cost something else than was known; each has a correcting row")
    amount_usd: str = Field(pattern=MONEY, description="the sum of these corrections")
    requested_by: str
    created_at: datetime
    finished_at: datetime | None


class ReRatingPage(Answered):
    items: list[ReRatingRead]
    next_cursor: str | None


def re_rating_json(row: ReRatingRow) -> str:
    return to_json(
        {
            "id": str(row.id),
            "provider": row.provider,
            "model": row.model,
            "since": rfc3339(row.since),
            "until": rfc3339(row.until),
            "status": "done" if row.finished_at else "working",
            "calls": row.calls,
            "corrected": row.corrected,
            "amount_usd": plain(row.amount),
            "requested_by": row.requested_by,
            "created_at": rfc3339(row.created_at),
            "finished_at": rfc3339(row.finished_at),
        }
    )
