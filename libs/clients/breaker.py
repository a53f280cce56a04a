"""A breaker: after failures in a row nothing is tried for a while, then one probe decides."""

from __future__ import annotations

import time


class Breaker:
    """Closed it lets everything through, open nothing, half open one probe at a time."""

    def __init__(self, failures: int = 3, pause: float = 1.0, longest: float = 5.0) -> None:
        self._allowed_failures = failures
        self._first_pause = pause
        self._longest = longest
        self._failures = 0
        self._pause = pause
        self._until = 0.0
        self._probing = False

    @property
    def open(self) -> bool:
        return self._failures >= self._allowed_failures

    def allows(self) -> bool:
        """Whether to try now; each True is answered by `succeeded` or `failed`."""
        if not self.open:
            return True
        if self._probing or time.monotonic() < self._until:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        self._failures = 0
        self._pause = self._first_pause
        self._probing = False

    def failed(self) -> None:
        self._failures += 1
        self._probing = False
        if self.open:
            self._until = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, self._longest)
