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
        ({"pattern": "("}, "pattern"),
        ({"patternProperties": {"(?=a)b": {}}}, "pattern"),
        ({"items": {"$ref": "https://example.org/x"}}, "what it holds itself"),
        ({"allOf": [{"$dynamicRef": "file:///etc/passwd"}]}, "what it holds itself"),
        ({"properties": {"x": {"$ref": "#/$defs/nowhere"}}}, "what it holds itself"),
        ("{}", "not a JSON Schema"),
        ({"const": "\ud800"}, "not a JSON Schema"),
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


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(a+)+$"},
        {"patternProperties": {"(a+)+$": False}, "additionalProperties": False},
        {"patternProperties": {"(a+)+$": False}, "unevaluatedProperties": False},
    ],
    ids=count(),
)
def test_no_pattern_holds_up_the_process(schema: dict[str, Any]) -> None:
    """By backtracking, this would take longer than the universe lasts."""
    assert mismatch("a" * 100 + "!", {"required": ["x"], **schema}) == mismatch("a" * 100 + "!", schema)
    assert (mismatch({"a" * 100 + "!": 1}, schema) is None) == ("pattern" in schema)


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"not": {"$ref": "#"}}, {"items": {"$ref": "#"}}], ids=count())
def test_a_schema_that_refers_to_itself_comes_to_an_end(schema: dict[str, Any]) -> None:
    assert schema_problem(schema) is None
    mismatch([[["x"]]], schema)


@pytest.mark.parametrize("value", [10**400, float("nan"), "\ud800", {"\ud800": 1}, {1: 2}], ids=count())
def test_any_value_gets_an_answer(value: Any) -> None:
    assert mismatch(value, {"type": "boolean"}) is not None


def test_a_mismatch_says_where() -> None:
    schema = {"properties": {"a": {"items": {"properties": {"b": {"type": "integer"}}}}}}
    assert (mismatch({"a": [{"b": "x"}]}, schema) or "").startswith("at $.a[0].b:")


def doubling(levels: int) -> dict[str, Any]:
    """Each level applies the next one twice."""
    parts = {f"a{at}": {"allOf": [{"$ref": f"#/$defs/a{at + 1}"}] * 2} for at in range(levels)}
    return {"$defs": parts | {f"a{levels}": {"type": "object"}}, "$ref": "#/$defs/a0"}


TWICE: dict[str, Any] = {"allOf": [{"properties": {"x": {"$ref": "#"}}}, {"properties": {"x": {"$ref": "#"}}}]}


@pytest.mark.parametrize("schema", [doubling(40), TWICE, doubling(2000)], ids=["at once", "with the value", "long"])
def test_references_do_not_multiply_the_work(schema: dict[str, Any]) -> None:
    """Comparing holds up everybody in the process: a worker that is asked to would be lost, and the next one too."""
    value: dict[str, Any] = {}
    for _ in range(50):
        value = {"x": value}
    assert schema_problem(schema) is None
    assert "too long" in (mismatch(value, schema) or "")


def test_ordinary_references_are_followed() -> None:
    tree = {
        "$defs": {"node": {"type": "object", "properties": {
            "$id": {"type": "string"},
            "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}, "all": {"items": {"$ref": "#"}}}}},
        "$ref": "#/$defs/node",
    }  # fmt: skip
    value: dict[str, Any] = {}
    for _ in range(10):
        value = {"left": value, "right": {}, "all": [value] * 2}
    assert mismatch(value, tree) is None
    assert "left" in (mismatch({"left": {"left": 1}}, tree) or "")
    assert "$id" in (schema_problem({"$defs": {"a": {"$id": "b", "type": "object"}}, "$ref": "#/$defs/a"}) or "")
