"""Text as PostgreSQL and UTF-8 can hold it, and JSON text as it was received."""

from __future__ import annotations

import json
import re
from typing import Any

LARGE = 64 * 1024  # bytes; a larger text goes to the object store
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> tuple[str, int]:
    """The text with NUL and lone surrogates replaced by U+FFFD, and how many were replaced."""
    return _UNSTORABLE.subn("\ufffd", text)


def clean_value(value: Any) -> tuple[Any, int]:
    """The same for every string inside a JSON value, keys included."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        items = [clean_value(item) for item in value]
        return [item for item, _ in items], sum(n for _, n in items)
    if isinstance(value, dict):
        pairs = [(clean(key), clean_value(item)) for key, item in value.items()]
        return {key: item for (key, _), (item, _) in pairs}, sum(n + m for (_, n), (_, m) in pairs)
    return value, 0


def dump(value: Any) -> str:
    """JSON text, keys in their order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def size(text: str) -> int:
    """Length in bytes of UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))
