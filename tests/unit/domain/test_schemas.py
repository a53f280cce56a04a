"""Schemas given by users: what is refused when a version is made, and that nothing is ever fetched."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from libs.domain.schemas import MAX_DEPTH, MAX_SHOWN, mismatch, schema_problem


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "object"}, None),
        (True, None),
        ({"$defs": {"x": {"type": "integer"}}, "$ref": "#/$defs/x"}, None),
        ({"type": "nothing"}, "not a JSON Schema"),
        ({"properties": []}, "not a JSON Schema"),
        ({"pattern": "("}, "not a JSON Schema"),
        ({"items": {"$ref": "https://example.org/x"}}, "only refer to itself"),
        ({"allOf": [{"$dynamicRef": "file:///etc/passwd"}]}, "only refer to itself"),
        (nested(MAX_DEPTH + 1), "levels deep"),
    ],
    ids=count(),
)
def test_which_schemas_can_be_used(schema: Any, problem: str | None) -> None:
    found = schema_problem(schema)
    assert (found is None) if problem is None else (problem in (found or ""))


def test_a_mismatch_is_short() -> None:
    found = mismatch("x" * 10_000, {"type": "integer"})
    assert found is not None
    assert len(found) < MAX_SHOWN + 50
    assert mismatch(1, {"type": "integer"}) is None


def test_a_value_that_is_too_deep_is_a_mismatch() -> None:
    value: Any = 1
    for _ in range(50_000):
        value = [value]
    assert "deep" in (mismatch(value, {}) or "")


def test_a_schema_that_would_break_a_recursion_is_refused() -> None:
    assert "levels deep" in (schema_problem(nested(50_000)) or "")
