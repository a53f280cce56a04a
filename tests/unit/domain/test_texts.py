"""Text that PostgreSQL and UTF-8 can hold, and nothing else changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.domain.texts import clean, clean_value, dump, size
from tests.unit.domain.logs import brief

BAD = "\ufffd"
ANY_TEXT = st.text(st.characters(categories=["Cs", "L", "Cc", "So"]), max_size=40)


@pytest.mark.parametrize(
    ("text", "cleaned", "replaced"),
    [
        ("", "", 0),
        ("é 🦊 \u2028\t\x01\x7f", "é 🦊 \u2028\t\x01\x7f", 0),
        ("a\x00b", f"a{BAD}b", 1),
        ("\ud83d", BAD, 1),
        ("\ud83e\udd8a", BAD * 2, 2),  # a pair as two code points is no character of Python's
    ],
)
def test_what_cannot_be_stored_is_replaced_and_counted(text: str, cleaned: str, replaced: int) -> None:
    assert clean(text) == (cleaned, replaced)


@brief
@given(ANY_TEXT)
def test_cleaned_text_can_be_stored_and_is_clean(text: str) -> None:
    cleaned, replaced = clean(text)
    cleaned.encode()
    assert "\x00" not in cleaned
    assert clean(cleaned) == (cleaned, 0)
    assert len(cleaned) == len(text)
    assert (replaced == 0) is (cleaned == text)


def test_values_are_cleaned_inside_keys_included() -> None:
    value: Any = {"a\x00": ["\ud800", {"b": "fine"}, 1, None, True, 1.5], "c": "\x00"}
    cleaned, replaced = clean_value(value)
    assert cleaned == {f"a{BAD}": [BAD, {"b": "fine"}, 1, None, True, 1.5], "c": BAD}
    assert replaced == 3


def test_json_keeps_the_order_of_keys_and_every_character() -> None:
    assert dump({"b": 1, "a": "é🦊\u2028"}) == '{"b":1,"a":"é🦊\u2028"}'
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            dump(number)


def test_size_is_in_bytes() -> None:
    assert (size("é"), size("🦊"), size("\ud800")) == (2, 4, 3)
