"""Labels whose values come from outside: a bounded number of them, whatever anybody writes into a spec."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

OTHER = "other"
T = TypeVar("T", bound=Hashable)


class Bounded(Generic[T]):
    """Says which values get a series of their own: the known ones, and so many of the others as come first."""

    def __init__(self, known: Iterable[T] = (), room: int = 0) -> None:
        self._own = set(known)
        self._room = room

    def has_own(self, value: T) -> bool:
        """False where the value is to be counted as `OTHER`."""
        if value in self._own:
            return True
        if self._room == 0:
            return False
        self._room -= 1
        self._own.add(value)
        return True
