"""Bodies have one meaning, or none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.domain.errors import InvalidRequest
from services.api.bodies import MAX_DEPTH, deeper_than, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=100))
def test_anything_else_is_declined(body: bytes) -> None:
    try:
        parse(body)
    except InvalidRequest as declined:
        declined.detail.encode("ascii")


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":1}', '{"b":{"a":1,"a":2}}', "NaN", "[Infinity]", "-Infinity", "1e999", "[" * 100_000, "9" * 5000],
)
def test_what_could_be_read_in_two_ways(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(text.encode())


def test_depth_is_counted_without_recursion() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(InvalidRequest):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert not deeper_than([[1], {"a": 2}], 2)
    assert deeper_than([[1], {"a": []}], 2)
