"""The form in which an entry of the audit log is hashed, and the chain that the hashes make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from libs.domain.texts import clean

GENESIS = "0" * 64  # what the first entry of a chain follows
LARGEST = 16 * 1024  # bytes of a value; a larger one is kept as its digest
HASHED = ("tenant_id", "seq", "id", "at", "actor", "source", "action", "target", "before", "after")


def canonical(value: Any) -> str:
    """JSON with sorted keys and without spaces, characters as they are; there are no fractions in it (RFC 8785)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def moment(at: datetime) -> str:
    """UTC to the microsecond."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat("T", "microseconds") + "Z"


def state_text(value: Any) -> str | None:
    """What something was before or after, as canonical JSON text; None for nothing."""
    if value is None:
        return None
    text = canonical(_plain(value))
    body = text.encode()
    if len(body) > LARGEST:
        return canonical({"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)})
    return text


def entry_hash(previous: str, entry: Mapping[str, Any]) -> str:
    """The hash of an entry in its place: SHA-256 over the previous hash, a line break and the canonical entry."""
    text = canonical({name: entry[name] for name in HASHED})
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def _plain(value: Any) -> Any:
    """The value in strings, whole numbers, truth values, lists and objects."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {clean(str(name))[0]: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, UUID | Decimal | float):
        return str(value)
    return clean(str(value))[0]
