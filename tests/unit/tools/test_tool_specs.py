"""What may be declared as a tool."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from libs.domain.tool_specs import ArtifactsToolSpec, ToolSpec, repeated_functions
from libs.tools.addresses import EgressPolicy
from libs.tools.egress import Egress
from libs.tools.registry import RepeatedFunction, build_tools

SPEC: TypeAdapter[Any] = TypeAdapter(ToolSpec)
GOOD: dict[str, Any] = {
    "type": "http",
    "name": "read_stock",
    "description": "Reads the stock of an item.",
    "effect": "read",
    "method": "GET",
    "url": "http://inventory.internal:8080/items/{sku}",
    "parameters": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
}


def test_defaults() -> None:
    spec = SPEC.validate_python(GOOD)
    assert (spec.timeout_seconds, spec.max_response_bytes, spec.on_unknown, spec.queue) == (
        30,
        65_536,
        "tell_model",
        None,
    )
    assert spec.placeholders == ("sku",)
    assert SPEC.validate_python(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "smtp"}, "type"),
        ({"typo": 1}, "Extra inputs"),
        ({"name": "a b"}, "pattern"),
        ({"effect": "none"}, "effect"),
        ({"method": "get"}, "method"),
        ({"url": "ftp://h/{sku}"}, "http://"),
        ({"url": "//h/{sku}"}, "http://"),
        ({"url": "http://{sku}/"}, "host is not for the model"),
        ({"url": "http://u:p@h/{sku}"}, "no user name"),
        ({"url": "http://h/{sku}#x"}, "fragment"),
        ({"url": "http://h/{sku}\r\nX: y"}, "ASCII"),
        ({"url": "http://h/{sku} x"}, "ASCII"),
        ({"url": "http://bücher/{sku}"}, "ASCII"),
        ({"url": "http://h/{}"}, "brace"),
        ({"url": "http://h/{a b}"}, "ASCII"),
        ({"url": "http://h:99999/{sku}"}, "Port"),
        ({"url": "http://h/{other}"}, "among the properties"),
        ({"parameters": {"type": "object", "properties": {"sku": {}}}}, "be required"),
        ({"parameters": {"type": "array"}}, "object"),
        ({"parameters": {"type": "object", "properties": 3}}, "object"),
        ({"parameters": {"type": "object", "properties": {"sku": {"type": "nonsense"}}}}, "JSON Schema"),
        ({"parameters": {"type": "object", "properties": {"sku": {"$ref": "http://h/s"}}}}, "what it holds itself"),
        ({"parameters": {"type": "object", "properties": {"sku": {"pattern": "("}}}}, "pattern that cannot be used"),
        ({"query": ["none"]}, "not among the properties"),
        ({"query": ["sku"]}, "as well as in query"),
        ({"headers": {"Host": "x"}}, "set by the platform"),
        ({"headers": {"idempotency-key": "x"}}, "set by the platform"),
        ({"headers": {"X-A": "a\r\nb"}}, "visible ASCII"),
        ({"headers": {"X A": "a"}}, "header name"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "twice"),
        ({"timeout_seconds": 0}, "greater than"),
        ({"timeout_seconds": float("inf")}, "finite"),
        ({"max_response_bytes": 2_000_000}, "less than"),
    ],
)
def test_what_is_refused_and_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SPEC.validate_python(GOOD | change)


def test_a_schema_too_deep_is_refused_in_words() -> None:
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"properties": {"a": deep}}
    with pytest.raises(ValidationError, match="levels deep"):
        SPEC.validate_python(GOOD | {"parameters": {"type": "object", **deep}})


def test_functions_by_name() -> None:
    one, artifacts = SPEC.validate_python(GOOD), ArtifactsToolSpec(type="artifacts")
    tools = build_tools([one, artifacts], Egress(EgressPolicy()))
    assert sorted(tools) == ["list_artifacts", "read_artifact", "read_stock", "write_artifact"]
    assert tools["read_stock"][1].effect == "read"


def test_a_function_is_offered_once() -> None:
    clashing = SPEC.validate_python(GOOD | {"name": "read_artifact"})
    declared = [clashing, ArtifactsToolSpec(type="artifacts")]
    assert repeated_functions(declared) == ["read_artifact"]
    with pytest.raises(RepeatedFunction, match="read_artifact"):
        build_tools(declared, Egress(EgressPolicy()))
