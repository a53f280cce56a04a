"""How long a failed attempt waits for the next one, where nobody else says so."""

from __future__ import annotations

RETRY_FIRST, RETRY_MOST = 0.5, 30.0  # seconds


def backoff(tries: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return float(min(RETRY_FIRST * 2 ** (max(tries, 1) - 1), RETRY_MOST))
