"""Reading a run's log in pages; it is only ever written together with the run's row."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

# Functions of the migrations: one round trip each. The turn and attempt of an event are taken out there, so that nobody
# parses whole messages to follow a stream.
_PAGE = Statement("SELECT * FROM read_events(:tenant_id, :run_id, :after, :limit)")
_OPENING = Statement("SELECT * FROM open_events(:tenant_id, :run_id, :after, :limit)")


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


async def page(connection: AsyncConnection, tenant_id: UUID, run_id: UUID, after: int, limit: int) -> list[EventRow]:
    rows = await _PAGE.run(connection, tenant_id=tenant_id, run_id=run_id, after=after, limit=limit)
    return [EventRow._make(row) for row in rows]


async def open_page(
    connection: AsyncConnection, tenant_id: UUID, run_id: UUID, after: int, limit: int
) -> Opening | None:
    """The first page that a reader gets; None when there is no such run."""
    rows = await _OPENING.run(connection, tenant_id=tenant_id, run_id=run_id, after=after, limit=limit)
    if not rows:
        return None
    created_by, last_seq, turn, finished = rows[0][:4]
    events = [EventRow._make(row[4:]) for row in rows if row[4] is not None]
    return Opening(created_by, last_seq, turn, finished, events)
