"""Conditional and partial requests for content: If-None-Match, If-Range and a single range of bytes (RFC 9110)."""

from __future__ import annotations

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})", re.IGNORECASE | re.ASCII)


class Part(NamedTuple):
    """Bytes from `start` to `end`, both included."""

    start: int
    end: int


class NotWithin(Exception):
    """The range has no byte of the content."""


def wanted_part(header: str | None, size: int) -> Part | None:
    """The one range that was asked for; None for all of it, also when the header asks for what is not supported.

    Raises:
        NotWithin: nothing of it is there.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise NotWithin
        return Part(size - length, size - 1)
    start, end = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and end < start:
        return None
    if start >= size:
        raise NotWithin
    return Part(start, min(end, size - 1))


def matches(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names this entity tag."""
    if header is None:
        return False
    names = [name.strip() for name in header.split(",")]
    return "*" in names or any(name.removeprefix("W/") == tag for name in names)
