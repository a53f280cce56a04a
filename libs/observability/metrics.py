"""Prometheus metrics that every program has: how to declare them, how to show them, and the event loop's lag."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
MEDIA_TYPE = CONTENT_TYPE_LATEST

LOOP_LAG = Histogram(
    "agent_runtime_event_loop_lag_seconds",
    "How much later than asked the event loop ran a timer",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
LOOP_LAG_MAX = Gauge("agent_runtime_event_loop_lag_max_seconds", "The largest lag of the last minute")
RUNS_ENDED = Counter(
    "agent_runtime_runs_ended_total",
    "Runs that ended; code says why one failed. The API ends those that never started",
    ["status", "code"],
)
SPANS = Counter(
    "agent_runtime_platform_spans_total",
    "Spans of the platform's own traces: made, and of those sent or lost; the rest waits or was dropped",
    ["result"],
)
PROJECTION_LAG = Gauge(
    "agent_runtime_projection_lag_seconds",
    "Age of the oldest committed fact that a projection has not delivered; 0 when it has delivered all",
    ["projection"],
)


def exposition() -> bytes:
    """Everything that was counted, in Prometheus' text format."""
    return generate_latest(REGISTRY)


async def watch_loop_lag(interval: float = 0.5) -> None:
    """Measure the lag of the running loop until cancelled."""
    largest, since = 0.0, time.monotonic()
    while True:
        before = time.monotonic()
        await asyncio.sleep(interval)
        now = time.monotonic()
        lag = max(now - before - interval, 0.0)
        LOOP_LAG.observe(lag)
        if now - since > 60:
            largest, since = 0.0, now
        largest = max(largest, lag)
        LOOP_LAG_MAX.set(largest)
