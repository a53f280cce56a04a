"""W3C `traceparent`: read from a request with distrust, written to what is called. Baggage is neither read nor sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

HEADER = "traceparent"
_FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class TraceParent(NamedTuple):
    """Whose call it is: ids in hex."""

    trace_id: str
    span_id: str
    flags: str = "01"

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def read(headers: Iterable[tuple[bytes, bytes]]) -> TraceParent | None:
    """The caller's, if there is exactly one and it is well formed."""
    found = [value for name, value in headers if name == b"traceparent"]
    if len(found) != 1 or not (match := _FORM.fullmatch(found[0])):
        return None
    return TraceParent(match[1].decode(), match[2].decode(), match[3].decode())
