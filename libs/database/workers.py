"""Worker processes and the calls they have in flight: who is alive, by the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

_RENEW = Statement(
    """
    INSERT INTO workers (id, name, task_queue, calls)
    VALUES (CAST(:id AS uuid), CAST(:name AS text), CAST(:task_queue AS text), CAST(:calls AS text[]))
    ON CONFLICT (id) DO UPDATE SET calls = EXCLUDED.calls, seen_at = clock_timestamp()
    """
)

_SIGHT = Statement(
    """
    SELECT seen_at, clock_timestamp(), CAST(:call AS text) = ANY (calls)
    FROM workers WHERE id = CAST(:id AS uuid)
    """
)


@dataclass(frozen=True)
class Sight:
    """A worker's row as it stands: when it was renewed, what time it is, whether it lists the call."""

    seen_at: datetime
    now: datetime
    listed: bool


async def renew(connection: AsyncConnection, id_: UUID, name: str, task_queue: str, calls: Sequence[str]) -> None:
    """Say that this process lives, and what it has in flight."""
    await _RENEW.run(connection, id=id_, name=name, task_queue=task_queue, calls=list(calls))


async def sight(connection: AsyncConnection, id_: UUID, call: str) -> Sight | None:
    """What is known of a worker and one of its calls; None when there is no such worker."""
    row = await _SIGHT.one(connection, id=id_, call=call)
    return Sight(*row) if row else None


async def remove(connection: AsyncConnection, id_: UUID) -> None:
    """This process ends in order: nothing of it is in flight."""
    await connection.exec_driver_sql("DELETE FROM workers WHERE id = $1", (id_,))
