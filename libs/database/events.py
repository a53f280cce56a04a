"""Reading a run's log in pages; it is only ever written together with the run's row."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

# The turn and attempt of an event are taken out here, so that nobody parses whole messages to follow a stream.
_COLUMNS = (
    "e.seq, e.type, e.version, CAST(e.data AS text), CAST(e.refs AS text), e.at, "
    "CAST(e.data ->> 'turn' AS int), CAST(e.data ->> 'attempt' AS int)"
)
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM run_events e
    WHERE e.run_id = CAST(:run AS uuid) AND e.seq > CAST(:after AS int) ORDER BY e.seq LIMIT CAST(:limit AS int)
    """
)
_OPENING = Statement(
    f"""
    SELECT r.created_by, r.last_seq, r.turn, r.finished_at IS NOT NULL, {_COLUMNS}
    FROM runs r
    LEFT JOIN LATERAL (
        SELECT * FROM run_events
        WHERE tenant_id = r.tenant_id AND run_id = r.id AND seq > CAST(:after AS int)
        ORDER BY seq LIMIT CAST(:limit AS int)
    ) e ON true
    WHERE r.id = CAST(:run AS uuid) ORDER BY e.seq
    """
)


class EventRow(NamedTuple):
    """`data` and `refs` are JSON text."""

    seq: int
    type: str
    version: int
    data: str
    refs: str | None
    at: datetime
    turn: int | None
    attempt: int | None


class Opening(NamedTuple):
    """A page of the log, and where its run stood in the same snapshot."""

    created_by: str
    last_seq: int
    turn: int
    finished: bool
    events: list[EventRow]


async def page(connection: AsyncConnection, run_id: UUID, after: int, limit: int) -> list[EventRow]:
    return [EventRow._make(row) for row in await _PAGE.run(connection, run=run_id, after=after, limit=limit)]


async def open_page(connection: AsyncConnection, run_id: UUID, after: int, limit: int) -> Opening | None:
    """The first page that a reader gets; None when there is no such run."""
    rows = await _OPENING.run(connection, run=run_id, after=after, limit=limit)
    if not rows:
        return None
    created_by, last_seq, turn, finished = rows[0][:4]
    events = [EventRow._make(row[4:]) for row in rows if row[4] is not None]
    return Opening(created_by, last_seq, turn, finished, events)
