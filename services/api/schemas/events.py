"""Events on the wire."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic import Field

from libs.database.events import EventRow
from services.api.schemas.shared import Answered, rfc3339, to_json


class LargeValue(Answered):
    """A value that is kept outside the log because of its size."""

    size: int = Field(description="bytes of UTF-8")
    sha256: str


class EventRead(Answered):
    """One fact of a run."""

    seq: int = Field(ge=1, description="gapless from 1; also the `id` of a Server-Sent Event")
    type: str = Field(examples=["model.completed"])
    data: dict[str, Any]
    at: datetime
    version: int
    large: dict[str, LargeValue] | None = Field(
        default=None, description="JSON pointer into `data`, where null stands, to what is kept elsewhere"
    )


class EventPage(Answered):
    items: list[EventRead]
    next_cursor: str | None = Field(description="the last seq of this page when there is more: the next `after`")


def event_json(event: EventRow) -> str:
    large = f',"large":{_large_json(event.refs)}' if event.refs else ""
    return (
        f'{{"seq":{event.seq},"type":"{event.type}","data":{event.data},"at":"{rfc3339(event.at)}",'
        f'"version":{event.version}{large}}}'
    )


def _large_json(refs: str) -> str:
    found = json.loads(refs)
    return to_json({pointer: {"size": ref["size"], "sha256": ref["sha256"]} for pointer, ref in found.items()})
