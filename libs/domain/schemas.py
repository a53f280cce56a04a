"""JSON Schemas given by users: which ones are accepted, and whether a value fits one; nothing is ever fetched.

Patterns are matched in linear time (no look-around, no back-references): one that backtracks would hold up everybody
who shares the process.
"""

from __future__ import annotations

from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from libs.domain.schema_cost import SchemaCost, parts

MAX_DEPTH = 64
MAX_APPLIED = 5_000_000  # times that parts of a schema are applied to parts of a value: about a third of a second
MAX_SHOWN = 300  # characters of a mismatch


def schema_problem(schema: Any) -> str | None:
    """Why this is not a schema that can be used, None when it is one."""
    if _too_deep(schema):
        return f"is nested more than {MAX_DEPTH} levels deep"
    if not isinstance(schema, dict | bool):  # a text would be taken for the JSON text of one
        return "is not a JSON Schema (2020-12): it must be an object or a boolean"
    try:
        _validator(schema)
    except ValidationError as error:
        shown = error.message[:MAX_SHOWN]
        if error.kind.name == "$ref":
            return f"may only refer to what it holds itself: {shown}"
        if error.kind.name == "format":
            return f"has a pattern that cannot be used (look-around and back-references are not known here): {shown}"
        return f"is not a JSON Schema (2020-12): {shown}"
    except ValueError as error:
        return f"is not a JSON Schema (2020-12): {str(error)[:MAX_SHOWN]}"
    if SchemaCost(schema).refers and any(
        isinstance(part.get("$id"), str) for part in parts(schema) if part is not schema
    ):
        return "may only refer to what it holds itself: a part with an $id of its own changes what references mean"
    return None


def mismatch(value: Any, schema: dict[str, Any]) -> str | None:
    """Where and why a value does not fit, None when it does."""
    if _too_deep(value):
        return f"is nested more than {MAX_DEPTH} levels deep"
    if _too_costly(value, schema):
        return "is so nested that comparing it with its schema, whose parts refer to each other, would take too long"
    try:
        _validator(schema).validate(value)
    except ValidationError as error:
        return f"at {_path(error.instance_path)}: {error.message[:MAX_SHOWN]}"
    except ValueError as failure:
        return f"cannot be compared with its schema: {type(failure).__name__}"
    return None


def _too_costly(value: Any, schema: Any) -> bool:
    cost = SchemaCost(schema)
    try:
        return cost.refers and cost.of(value) > MAX_APPLIED
    except RecursionError:
        return True


def _validator(schema: Any) -> Draft202012Validator:
    return Draft202012Validator(schema, pattern_options=RegexOptions(), offline=True)


def _path(steps: list[str | int]) -> str:
    """JSONPath (RFC 9535) of a place in a value."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _too_deep(value: Any) -> bool:
    """Without recursion: what is too deep would break one."""
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True
