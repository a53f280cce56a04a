"""How many runs are in which state, and how many workers live, across tenants: numbers and ages, no ids."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

MOST = 100_000  # runs that are looked at; beyond it, the numbers are at least so large
WAITS_FOR_PLACE = "waiting_for_place"
STATES = ("queued", WAITS_FOR_PLACE, "running", "waiting", "pausing", "paused", "cancelling")


class Census(NamedTuple):
    """Live runs by state, the age in seconds of the oldest that may start and has not, and the living workers."""

    runs: dict[str, int]
    oldest_unstarted: float
    workers: int


_RUNS = Statement(
    f"""
    SELECT state, count(*), CAST(max(unstarted) AS float8) FROM (
        SELECT CASE WHEN admitted_at IS NULL AND desired = 'run' THEN '{WAITS_FOR_PLACE}' ELSE status END AS state,
               CASE WHEN started_at IS NULL AND desired = 'run'
                    THEN extract(epoch FROM clock_timestamp() - admitted_at) END AS unstarted
        FROM runs WHERE finished_at IS NULL LIMIT {MOST}
    ) AS live GROUP BY state
    """  # noqa: S608 - constants of this module
)
_WORKERS = Statement(
    """
    SELECT count(*) FROM workers
    WHERE task_queue = CAST(:task_queue AS text)
        AND seen_at > clock_timestamp() - make_interval(secs => CAST(:seconds AS float8))
    """
)


async def take(connection: AsyncConnection, task_queue: str, alive_within: float) -> Census:
    """Count, as role maintenance; a worker of the queue lives that was seen within so many seconds."""
    rows = await _RUNS.run(connection)
    found = {state: count for state, count, _ in rows}
    oldest = max((float(age) for _, _, age in rows if age is not None), default=0.0)
    alive = await _WORKERS.one(connection, task_queue=task_queue, seconds=alive_within)
    return Census({state: found.get(state, 0) for state in STATES}, max(oldest, 0.0), int(alive[0]))
