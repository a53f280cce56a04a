"""JSON Schemas given by users: which ones are accepted, and whether a value fits one; nothing is ever fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_DEPTH = 64
MAX_SHOWN = 300  # characters of a mismatch


def schema_problem(schema: Any) -> str | None:
    """Why this is not a schema that can be used, None when it is one."""
    if _too_deep(schema):
        return f"is nested more than {MAX_DEPTH} levels deep"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is not a JSON Schema (2020-12): {error.message[:MAX_SHOWN]}"
    for key, value in _members(schema):
        if key in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
            return f'may only refer to itself: {key} must start with "#"'
    return None


def mismatch(value: Any, schema: dict[str, Any]) -> str | None:
    """Where and why a value does not fit, None when it does."""
    if _too_deep(value):
        return f"is nested more than {MAX_DEPTH} levels deep"
    try:
        error = next(Draft202012Validator(schema, registry=Registry()).iter_errors(value), None)
    except (Unresolvable, RecursionError, re.error) as failure:
        return f"cannot be compared with its schema: {type(failure).__name__}"
    if error is None:
        return None
    return f"at {error.json_path}: {error.message[:MAX_SHOWN]}"


def _too_deep(value: Any) -> bool:
    """Without recursion: what is too deep would break one."""
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True


def _members(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object inside a schema, with its value."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            yield key, value
            yield from _members(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _members(item)
