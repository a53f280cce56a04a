"""One thing that was tried at a server, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Victim:
    """What the other tenant has; `marks` are pieces of its content, no ids, that occur nowhere else."""

    tenant_id: str
    runs: Sequence[str]
    marks: Sequence[str]


@dataclass(frozen=True)
class Tried:
    """`leak` says what is wrong; None when the wall held."""

    layer: str
    attack: str
    what: str
    leak: str | None = None
