"""What a model wrote: accepted as JSON only when it is, and never a reason to fall over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.domain.outputs import Unacceptable, parse_arguments, parse_output
from libs.domain.texts import clean, clean_value, dump
from tests.unit.domain.logs import brief

OBJECT: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_without_a_schema_the_answer_is_the_text() -> None:
    assert parse_output("not { json", None) == "not { json"


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 1}',
        '  {"n": 1}\n',
        '```json\n{"n": 1}\n```',
        '```\n{"n": 1}\n```  ',
        '```json\r\n{"n": 1}\r\n```',
    ],
)
def test_a_fence_around_it_is_taken_off(text: str) -> None:
    assert parse_output(text, OBJECT) == {"n": 1}


def test_a_fence_changes_nothing_inside() -> None:
    odd = "\u2028 \x85 \u2029 é 🦊"
    assert parse_output(f'```json\n"{odd}"\n```', {"type": "string"}) == odd


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"n": 1} and more',
        "NaN",
        '{"n": NaN}',
        "Infinity",
        "-Infinity",
        "1e400",
        '{"n": -1e999}',
        "[" * 100_000,
        "[" * 900 + "]" * 900,
        '{"a":' * 5000 + "1" + "}" * 5000,
        "9" * 10_000,
        "```json\n{\n```",
        "'single'",
        "\x00",
        "\ud800",
    ],
)
@pytest.mark.parametrize("schema", [{}, OBJECT], ids=["any", "object"])
def test_what_is_not_json_or_cannot_be_kept_is_given_back(text: str, schema: dict[str, Any]) -> None:
    with pytest.raises(Unacceptable) as refusal:
        parse_output(text, schema)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("text", ["[]", "1", '"text"', "null", "[1, 2"])
def test_arguments_are_an_object(text: str) -> None:
    with pytest.raises(Unacceptable):
        parse_arguments(text, {"type": "object"})


def test_no_arguments_are_an_empty_object() -> None:
    assert parse_arguments("", {"type": "object"}) == {}


@pytest.mark.parametrize(("text", "where"), [('{"n": "1"}', "n"), ('{"m": 1}', "n"), ('{"n": 1.5}', "n")])
def test_a_mismatch_says_where(text: str, where: str) -> None:
    with pytest.raises(Unacceptable, match=where):
        parse_arguments(text, OBJECT)


def test_what_the_model_is_told_can_be_stored() -> None:
    """Names in the value come back in the message."""
    with pytest.raises(Unacceptable) as refusal:
        parse_output('{"\\u0000 \\ud800": 1}', {"additionalProperties": {"type": "string"}})
    assert clean(str(refusal.value)) == (str(refusal.value), 0)


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "#/$defs/missing"}, {"$ref": "http://127.0.0.1:9/schema"}, {"pattern": "("}],
)
def test_a_schema_that_cannot_be_used_is_the_same_answer(schema: dict[str, Any]) -> None:
    """Nothing is fetched, and the step does not fail."""
    with pytest.raises(Unacceptable):
        parse_output('"text"', schema)


def test_a_huge_answer_is_an_answer() -> None:
    text = dump({"n": 1, "text": "x" * 2_000_000})
    assert parse_output(text, OBJECT)["n"] == 1


@brief
@given(JSON)
def test_what_is_accepted_can_be_stored_and_comes_back(value: Any) -> None:
    parsed = parse_output(json.dumps(value), {})
    assert parsed == value
    kept, replaced = clean_value(parsed)
    assert json.loads(dump(kept)) == kept
    assert replaced == 0 or kept != parsed
