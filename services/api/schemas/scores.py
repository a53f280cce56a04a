"""Scores on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StringConstraints

from libs.database.scores import ScoreRow
from services.api.schemas.shared import Answered, Sent, Text, rfc3339, to_json


def _exact(value: object) -> object:
    if isinstance(value, int) and abs(value) > 2**53:
        raise ValueError("is a whole number beyond 2^53, which JSON does not hold exactly")
    return value


Number = Annotated[StrictFloat, BeforeValidator(_exact), Field(allow_inf_nan=False)]
Category = Annotated[Text, StringConstraints(min_length=1, max_length=500)]


class ScoreCreate(Sent):
    """What somebody thinks of a run; the type of `value` says what kind of score it is."""

    name: Annotated[Text, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\s\x00-\x1f](.*\S)?$")]
    value: StrictBool | Number | Category = Field(description="a number, true or false, or a category")
    comment: Annotated[Text, StringConstraints(max_length=4000)] | None = None


class ScoreRead(Answered):
    id: str
    run_id: str
    name: str
    value: bool | float | str
    comment: str | None
    created_by: str
    created_at: datetime


class ScorePage(Answered):
    items: list[ScoreRead]
    next_cursor: str | None


def score_json(row: ScoreRow) -> str:
    return to_json(
        {
            "id": str(row.id),
            "run_id": str(row.run_id),
            "name": row.name,
            "value": row.value,
            "comment": row.comment,
            "created_by": row.created_by,
            "created_at": rfc3339(row.created_at),
        }
    )
