"""How often and how long a request is tried again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace

AGAIN = frozenset({429, 502, 503, 504})  # statuses after which the same request may succeed


@dataclass(frozen=True)
class Retry:
    """Bounds of automatic retries: `attempts` counts every try, the others are seconds.

    Every request of this client is safe to repeat: a POST carries an idempotency key, the others are idempotent.
    """

    attempts: int = 6
    total: float = 60.0
    first_pause: float = 0.25
    longest_pause: float = 8.0

    def patient(self) -> Retry:
        """For streams that were open once: an outage of minutes does not end them, and they are back soon after it."""
        total, longest = max(self.total, 600.0), min(self.longest_pause, 2.0)
        return replace(self, attempts=1_000_000, total=total, longest_pause=longest)


NEVER = Retry(attempts=1)


@dataclass
class Pauses:
    """The pauses of one call: full jitter, doubling, `Retry-After` respected, bounded by count and time."""

    retry: Retry
    tries: int = 0
    started: float = field(default_factory=time.monotonic)

    def next(self, retry_after: float | None = None) -> float | None:
        """Seconds to wait before the next try; None when it is enough."""
        self.tries += 1
        if self.tries >= self.retry.attempts:
            return None
        ceiling = min(self.retry.longest_pause, self.retry.first_pause * 2 ** min(self.tries - 1, 30))
        pause = random.uniform(0, ceiling) + (retry_after or 0.0)  # noqa: S311 - jitter, not a secret
        return pause if time.monotonic() - self.started + pause <= self.retry.total else None

    def reset(self) -> None:
        """Something arrived: what follows is a new difficulty."""
        self.tries, self.started = 0, time.monotonic()
