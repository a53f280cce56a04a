"""Types and rendering that several nouns share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from libs.domain.texts import clean

SLUG = r"^[a-z][a-z0-9-]{0,62}$"
MAX_INT = 2**31 - 1


def _storable(text: str) -> str:
    if clean(text)[1]:
        raise ValueError("must not contain NUL or half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Slug = Annotated[str, StringConstraints(pattern=SLUG)]
Number = Annotated[int, Field(ge=1, le=MAX_INT, strict=True)]


FIRST_YEAR, LAST_YEAR = 1900, 9998  # of moments that are kept; every offset of theirs has a year


def _in_utc(moment: AwareDatetime) -> AwareDatetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None


def _kept(moment: AwareDatetime) -> AwareDatetime:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"is outside the years {FIRST_YEAR} to {LAST_YEAR} in UTC")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
KeptMoment = Annotated[Moment, AfterValidator(_kept)]


class Sent(BaseModel):
    """A body as a client sends it: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answered(BaseModel):
    """A body as this API answers it."""

    model_config = ConfigDict(frozen=True)


def rfc3339(moment: datetime | None) -> str | None:
    """UTC with microseconds and a Z."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None).isoformat("T", "microseconds") + "Z"


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def page_json(items: Iterable[str], next_cursor: str | None) -> str:
    """A page of items that are JSON text already."""
    return f'{{"items":[{",".join(items)}],"next_cursor":{to_json(next_cursor)}}}'


def spliced(fields: dict[str, Any], **texts: str) -> str:
    """A JSON object of values and of members that are JSON text already, which are neither parsed nor changed."""
    members = "".join(f',"{name}":{text}' for name, text in texts.items())
    return f"{to_json(fields)[:-1]}{members}}}"
