"""Requests per second of a tenant, counted over all replicas; without Redis each replica has its share.

The windows are the seconds of the clock, as Kong counts them. A replica takes allowances from the shared counter some
at a time: a tenth of what is left, so that most requests ask nobody, and near the limit one by one. The limit is never
exceeded; what a replica took and did not use is lost with its second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol
from uuid import UUID

from libs.domain.errors import RateLimited

AT_A_TIME = 10  # one part in so many of what is left
KEPT_SECONDS = 5
REMEMBERED = 10_000
RESET_SECONDS = 1  # a window is a second: it ends within one


class Shared(Protocol):
    """The part of `libs.clients.counters` that is used here."""

    async def add(self, name: str, amount: int, seconds: int) -> int | None: ...


class Allowance(NamedTuple):
    """How a request stands against its tenant's limit."""

    limit: int
    remaining: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields that Kong 3.9 sends."""
        return [
            (b"ratelimit-limit", str(self.limit).encode()),
            (b"ratelimit-remaining", str(self.remaining).encode()),
            (b"ratelimit-reset", str(RESET_SECONDS).encode()),
        ]


class Window:
    """One second of one tenant, in this process."""

    def __init__(self, second: int) -> None:
        self.second = second
        self.taken = 0  # by all replicas, as far as is known
        self.left = 0  # of what this one took
        self.shared = True
        self.asking = asyncio.Lock()


class Rates:
    """One per process."""

    def __init__(self, shared: Shared, replicas: int, clock: Callable[[], float] = time.time) -> None:
        self._shared = shared
        self._replicas = replicas
        self._clock = clock
        self._windows: dict[UUID, Window] = {}

    async def take(self, tenant_id: UUID, limit: int) -> tuple[Allowance, bool]:
        """How a request stands, and whether it is allowed. Never waits longer than one call of the counter."""
        window = self._window(tenant_id)
        if window.left == 0 and window.shared and window.taken < limit:
            async with window.asking:
                if window.left == 0 and window.shared and window.taken < limit:
                    await self._lease(window, tenant_id, limit)
        if not window.shared:
            return self._alone(window, limit)
        if window.left == 0:
            return Allowance(limit, 0), False
        window.left -= 1
        return Allowance(limit, max(0, limit - window.taken) + window.left), True

    async def _lease(self, window: Window, tenant_id: UUID, limit: int) -> None:
        wanted = max(1, (limit - window.taken) // AT_A_TIME)
        taken = await self._shared.add(f"rate:{tenant_id}:{window.second}", wanted, KEPT_SECONDS)
        if taken is None:
            window.shared, window.taken, window.left = False, 0, 0
        else:
            window.taken = taken
            window.left = max(0, wanted - max(0, taken - limit))

    def _alone(self, window: Window, limit: int) -> tuple[Allowance, bool]:
        share = max(1, limit // self._replicas)
        if window.taken >= share:
            return Allowance(limit, 0), False
        window.taken += 1
        return Allowance(limit, share - window.taken), True

    def _window(self, tenant_id: UUID) -> Window:
        second = int(self._clock())
        window = self._windows.get(tenant_id)
        if window is None or window.second != second:
            if len(self._windows) >= REMEMBERED:
                self._windows.clear()
            window = self._windows[tenant_id] = Window(second)
        return window


def refused(allowance: Allowance) -> RateLimited:
    return RateLimited(
        f"Your tenant's plan allows {allowance.limit} requests a second, over all its users. "
        f"Try again in {RESET_SECONDS} s.",
        RESET_SECONDS,
    )
