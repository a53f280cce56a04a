"""Runs that somebody should look after, found across tenants by ids and times only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement


@dataclass(frozen=True)
class Neglected:
    """A live run whose time for a look has come."""

    tenant_id: UUID
    run_id: UUID
    desired: str
    control_seq: int
    control_seen: int
    priority: int
    admitted: bool
    started: bool
    deadline_at: datetime | None
    checks: int


# Only what was admitted is started; what has started has a workflow, also while it waits for a place again.
# The next look comes later each time, up to a minute; moving `next_check_at` is what claims a run.
_CLAIM = Statement(
    """
    UPDATE runs SET
        next_check_at = clock_timestamp()
            + make_interval(secs => LEAST(60, 2 * power(2, LEAST(checks, 5))) * (0.8 + 0.4 * random())),
        checks = checks + 1
    WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM runs
        WHERE finished_at IS NULL AND (admitted_at IS NOT NULL OR started_at IS NOT NULL)
            AND next_check_at <= clock_timestamp()
        ORDER BY next_check_at LIMIT CAST(:most AS int) FOR UPDATE SKIP LOCKED
    )
    RETURNING tenant_id, id, desired, control_seq, control_seen, priority, admitted_at IS NOT NULL,
        started_at IS NOT NULL, deadline_at, checks
    """
)

_CONTROLS = Statement(
    """
    SELECT r.tenant_id, r.id, r.control_seq, r.desired
    FROM unnest(CAST(:tenants AS uuid[]), CAST(:runs AS uuid[])) AS live (tenant_id, id)
    JOIN runs r ON r.tenant_id = live.tenant_id AND r.id = live.id
    """
)


async def claim(connection: AsyncConnection, most: int) -> list[Neglected]:
    """Take the next runs to look after; no other worker gets them before their next time."""
    return [Neglected(*row) for row in await _CLAIM.run(connection, most=most)]


async def sweep(connection: AsyncConnection) -> None:
    """Forget workers that were not seen for a day, and idempotency keys that are no longer kept."""
    await connection.exec_driver_sql("DELETE FROM workers WHERE seen_at < clock_timestamp() - interval '1 day'")
    await connection.exec_driver_sql(
        "DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - interval '25 hours'"
    )


async def controls(
    connection: AsyncConnection, runs: Sequence[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], tuple[int, str]]:
    """(control_seq, desired) of each of these (tenant, run)."""
    rows = await _CONTROLS.run(connection, tenants=[t for t, _ in runs], runs=[r for _, r in runs])
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}
