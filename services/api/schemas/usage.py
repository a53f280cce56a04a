"""Usage on the wire."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from libs.database.usage import Part, UsageRow
from libs.domain.errors import InvalidRequest
from libs.domain.money import plain
from services.api.schemas.shared import Answered, Moment, rfc3339, to_json

MONEY = r"^-?\d+(\.\d+)?$"
LABEL = "label:"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def _midnight(value: Any) -> Any:
    return f"{value}T00:00:00Z" if isinstance(value, str) and _DAY.fullmatch(value) else value


DayOrMoment = Annotated[
    Moment,
    BeforeValidator(_midnight),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}),
]


class UsagePart(Answered):
    calls: int
    input_tokens: int
    cached_input_tokens: int = Field(description="part of the input tokens")
    output_tokens: int
    reasoning_tokens: int = Field(description="part of the output tokens")
    cost_usd: str = Field(pattern=MONEY)


class UsageSums(UsagePart):
    """Settled and estimated calls together; `cost_usd` with all corrections."""

    correction_usd: str = Field(
        pattern=MONEY, description="what re-rating added to the cost of these calls, or took off"
    )
    unpriced_calls: int = Field(description="calls of models without a price: they count as 0 USD")
    settled: UsagePart = Field(description="by the provider's own count, before corrections")
    estimated: UsagePart = Field(description="calls whose usage never arrived, before corrections")


class UsageGroup(UsageSums):
    """What is not grouped by is null; so is an agent, user or label that these calls do not have."""

    tenant: str | None
    day: date | None = Field(description="on which the calls were opened, in UTC")
    agent: str | None
    model: str | None = Field(description="provider/model")
    user: str | None
    label: str | None = Field(description="the value of the label that is grouped by")


class UsageReport(Answered):
    since: datetime
    until: datetime
    group_by: list[str]
    total: UsageSums = Field(description="of all groups, whatever page this is")
    items: list[UsageGroup]
    next_cursor: str | None


def report_json(
    since: datetime, until: datetime, group_by: Sequence[str], total: UsageRow, groups: list[UsageRow], more: bool
) -> str:
    return to_json(
        {
            "since": rfc3339(since),
            "until": rfc3339(until),
            "group_by": list(group_by),
            "total": _sums(total),
            "items": [_names(group_by, row) | _sums(row) for row in groups],
            "next_cursor": _cursor(groups[-1].place) if more else None,
        }
    )


def _names(group_by: Sequence[str], row: UsageRow) -> dict[str, str | None]:
    names: dict[str, str | None] = dict.fromkeys(("tenant", "day", "agent", "model", "user", "label"))
    for name, value in zip(group_by, row.keys, strict=True):
        names[name.partition(":")[0]] = value
    return names


def _sums(row: UsageRow) -> dict[str, Any]:
    return {
        **_part(row.settled.plus(row.estimated, row.correction)),
        "correction_usd": plain(row.correction),
        "unpriced_calls": row.unpriced_calls,
        "settled": _part(row.settled),
        "estimated": _part(row.estimated),
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        **{name: int(value) for name, value in part._asdict().items() if name != "cost"},
        "cost_usd": plain(part.cost),
    }


def _cursor(place: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, ensure_ascii=False).encode()).decode().rstrip("=")


def place_of(cursor: str, keys: int) -> list[str]:
    """Where a page begins. Raises `InvalidRequest` for what no page named."""
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        fits = isinstance(place, list) and len(place) == keys and all(isinstance(part, str) for part in place)
        if fits and "\x00" not in "".join(place):
            "".join(place).encode()
            return list(place)
    except (ValueError, RecursionError):
        pass
    raise InvalidRequest("The query parameter `cursor` must be `next_cursor` of a page of the same query.")
