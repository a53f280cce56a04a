"""How often the parts of a JSON Schema would be applied to a value, counted without applying any.

References let a short schema ask for the same again and again, twice as often with each level, and whoever compares a
value with it then holds up everybody who shares the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS = ("$anchor", "$dynamicAnchor")
_SAME_PLACE = frozenset({"not", "if", "then", "else"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf"})
_BY_NAME = frozenset({"dependentSchemas", "dependencies"})
_MEMBERS = frozenset({"additionalProperties", "unevaluatedProperties"})
_ITEMS = frozenset({"items", "additionalItems", "unevaluatedItems", "contains"})


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a schema."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


class SchemaCost:
    """Of one schema. What is counted is an upper bound: every branch counts as taken."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        found = list(parts(schema))
        self.refers = any(name in part for part in found for name in REFERENCES)
        self._anchors = {part[name]: part for part in found for name in _ANCHORS if isinstance(part.get(name), str)}
        self._known: dict[tuple[int, int], int] = {}

    def of(self, value: Any) -> int:
        """How many times some part is applied to some part of the value. Raises RecursionError."""
        return self._count(self._schema, value)

    def _count(self, schema: Any, value: Any) -> int:
        if not isinstance(schema, dict):
            return 1
        place = id(schema), id(value)
        if place not in self._known:
            self._known[place] = 0  # who refers to itself at the same place is not applied again
            self._known[place] = 1 + sum(self._count(part, at) for part, at in self._applied(schema, value))
        return self._known[place]

    def _applied(self, schema: dict[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
        for name, part in schema.items():
            if name in REFERENCES:
                yield self._target(part), value
            elif name in _SAME_PLACE:
                yield part, value
            elif name in _LISTS and isinstance(part, list):
                yield from ((each, value) for each in part)
            elif name in _BY_NAME and isinstance(part, dict):
                yield from ((each, value) for each in part.values())
            elif isinstance(value, dict):
                yield from _to_members(schema, name, part, value)
            elif isinstance(value, list):
                yield from _to_items(name, part, value)

    def _target(self, reference: Any) -> Any:
        _, _, fragment = str(reference).partition("#")
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(unquote(fragment))
        found = self._schema
        for step in unquote(fragment).split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                found = found.get(step) if isinstance(found, dict) else None
        return found


def _to_members(schema: dict[str, Any], name: str, part: Any, value: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    if name == "properties" and isinstance(part, dict):
        yield from ((each, value[key]) for key, each in part.items() if key in value)
    elif name == "patternProperties" and isinstance(part, dict):
        yield from ((each, member) for each in part.values() for member in value.values())
    elif name in _MEMBERS:
        named = schema.get("properties")
        known = named if isinstance(named, dict) else {}
        yield from ((part, member) for key, member in value.items() if key not in known)
    elif name == "propertyNames":
        yield from ((part, key) for key in value)


def _to_items(name: str, part: Any, value: list[Any]) -> Iterator[tuple[Any, Any]]:
    if isinstance(part, list):
        if name in ("prefixItems", "items"):
            yield from zip(part, value, strict=False)
    elif name in _ITEMS:
        yield from ((part, item) for item in value)
