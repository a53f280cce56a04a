"""Rows of scores: what people and evaluators think of a run. They never change."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

Value = float | bool | str


class ScoreRow(NamedTuple):
    """One of `number`, `truth` and `category` is the value."""

    id: UUID
    run_id: UUID
    name: str
    number: float | None
    truth: bool | None
    category: str | None
    comment: str | None
    created_by: str
    created_at: datetime

    @property
    def value(self) -> Value:
        found = next(value for value in (self.truth, self.number, self.category) if value is not None)
        return int(found) if isinstance(found, float) and found.is_integer() and abs(found) < 2**53 else found


COLUMNS = "id, run_id, name, number, truth, category, comment, created_by, created_at"
# Only for a run that the caller sees; a deletion of the run waits for it, or comes first.
_ADD = Statement(
    f"""
    WITH seen AS (
        SELECT tenant_id, id FROM runs
        WHERE id = CAST(:run AS uuid) AND (CAST(:subject AS text) IS NULL OR created_by = CAST(:subject AS text))
        FOR KEY SHARE
    )
    INSERT INTO scores (tenant_id, run_id, name, number, truth, category, comment, created_by)
    SELECT tenant_id, id, CAST(:name AS text), CAST(:number AS float8), CAST(:truth AS boolean),
           CAST(:category AS text), CAST(:comment AS text), CAST(:by AS text) FROM seen
    RETURNING {COLUMNS}
    """  # noqa: S608 - put together from constants of this module
)
_PAGE = Statement(
    f"""
    SELECT {COLUMNS} FROM scores
    WHERE run_id = CAST(:run AS uuid) AND (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid))
    ORDER BY id DESC LIMIT CAST(:limit AS int)
    """  # noqa: S608 - put together from constants of this module
)


async def add(
    connection: AsyncConnection,
    run_id: UUID,
    subject: str | None,
    *,
    name: str,
    value: Value,
    comment: str | None,
    by: str,
) -> ScoreRow | None:
    """A new score; None when there is no such run, or `subject` does not see it (None sees all of the tenant)."""
    row = await _ADD.one(
        connection,
        run=run_id,
        subject=subject,
        name=name,
        number=float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None,
        truth=value if isinstance(value, bool) else None,
        category=value if isinstance(value, str) else None,
        comment=comment,
        by=by,
    )
    return ScoreRow._make(row) if row else None


async def page(connection: AsyncConnection, run_id: UUID, before: UUID | None, limit: int) -> list[ScoreRow]:
    """Newest first."""
    return [ScoreRow._make(row) for row in await _PAGE.run(connection, run=run_id, before=before, limit=limit)]
