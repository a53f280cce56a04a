"""What LangFuse is told of a score."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from libs.database.scores import ScoreRow
from libs.settings.traces import Redaction
from services.worker.exporting.content import REDACTED, Content
from services.worker.exporting.scores import body

ID, RUN = UUID("01a20000-0000-7000-8000-000000000001"), UUID("01a20000-0000-7000-8000-000000000002")
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def told(redaction: Redaction = "nothing", **value: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"number": None, "truth": None, "category": None, "comment": None, **value}
    row = ScoreRow(ID, RUN, "accuracy", **values, created_by="ada", created_at=AT)
    return body(row, Content(redaction, 100), "default")


@pytest.mark.parametrize(
    ("value", "shown", "kind"),
    [
        ({"number": 0.5}, 0.5, "NUMERIC"),
        ({"number": 0.0}, 0.0, "NUMERIC"),
        ({"truth": True}, 1.0, "BOOLEAN"),
        ({"truth": False}, 0.0, "BOOLEAN"),
        ({"category": "wrong"}, "wrong", "CATEGORICAL"),
    ],
)
def test_a_score_has_the_type_of_its_value(value: dict[str, Any], shown: Any, kind: str) -> None:
    assert told(**value) == {
        "id": str(ID),
        "traceId": RUN.hex,
        "name": "accuracy",
        "value": shown,
        "dataType": kind,
        "environment": "default",
        "timestamp": "2026-11-23T12:00:00+00:00",
        "metadata": {"by": "ada"},
    }


def test_what_a_person_wrote_is_content() -> None:
    found = told("all", category="the customer's name", comment="his address")
    assert (found["value"], found["comment"]) == (REDACTED, REDACTED)
    assert told("all", number=0.5)["value"] == 0.5
    assert len(told(number=1.0, comment="x" * 1000)["comment"]) <= 100
