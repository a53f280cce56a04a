"""Pieces of an answer on their way to listeners: the first at once, then what came together within a moment as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MOMENT = 0.02  # seconds; a person sees no difference, Redis and every listener's stream do


class Pieces:
    """Of one attempt. What is still held when the attempt ends is dropped: its commit has the whole."""

    def __init__(self, publish: Callable[[int, str], None]) -> None:
        self._publish = publish
        self._index = 0
        self._held: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, text: str) -> None:
        """A piece has come."""
        if self._timer is not None:
            self._held.append(text)
            return
        self._send(text)
        self._timer = asyncio.get_running_loop().call_later(MOMENT, self._flush)

    def stop(self) -> None:
        """The attempt has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _flush(self) -> None:
        self._timer = None
        if self._held:
            self.add("".join(self._held))
            self._held.clear()

    def _send(self, text: str) -> None:
        self._publish(self._index, text)
        self._index += 1
