"""Moments that are kept: any that the database and every offset can say."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from services.api.schemas.shared import KeptMoment, rfc3339

MOMENT: TypeAdapter[KeptMoment] = TypeAdapter(KeptMoment)


@pytest.mark.parametrize("sent", ["1900-01-01T00:00:00Z", "2026-11-23T12:00:00+14:00", "9998-12-31T23:59:59.999999Z"])
def test_a_moment_is_read_and_said_again(sent: str) -> None:
    read = MOMENT.validate_python(sent)
    said = rfc3339(read)
    assert said is not None
    assert MOMENT.validate_python(said) == read


@pytest.mark.parametrize(
    "sent", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1899-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"]
)
def test_a_moment_that_no_calendar_of_ours_has_is_refused(sent: str) -> None:
    with pytest.raises(ValidationError, match="outside the years"):
        MOMENT.validate_python(sent)
