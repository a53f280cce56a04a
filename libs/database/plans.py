"""Rows of plans, which every tenant may read and the platform itself, the nil UUID, writes."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement
from libs.domain.plans import Plan

_LIMITS = ", ".join(Plan._fields)
_COLUMNS = f"{_LIMITS}, created_at, updated_at"
_FIND = Statement(f"SELECT {_COLUMNS} FROM plans WHERE slug = CAST(:slug AS text)")
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM plans WHERE CAST(:after AS text) IS NULL OR slug > CAST(:after AS text)
    ORDER BY slug LIMIT CAST(:limit AS int)
    """
)
_PUT = Statement(
    f"""
    INSERT INTO plans ({_LIMITS}) VALUES (
        CAST(:slug AS text), CAST(:requests_per_second AS int), CAST(:running_runs AS int), CAST(:queued_runs AS int),
        CAST(:artifact_bytes AS bigint), CAST(:allowed_models AS text[]), CAST(:agents AS int),
        CAST(:agent_versions AS int), CAST(:secrets AS int), CAST(:service_accounts AS int), CAST(:users AS int))
    ON CONFLICT (slug) DO UPDATE SET
        requests_per_second = excluded.requests_per_second, running_runs = excluded.running_runs,
        queued_runs = excluded.queued_runs, artifact_bytes = excluded.artifact_bytes,
        allowed_models = excluded.allowed_models, agents = excluded.agents,
        agent_versions = excluded.agent_versions, secrets = excluded.secrets,
        service_accounts = excluded.service_accounts, users = excluded.users, updated_at = clock_timestamp()
    RETURNING {_COLUMNS}, old.slug IS NULL
    """
)


class PlanRow(NamedTuple):
    """A plan with its times."""

    plan: Plan
    created_at: datetime
    updated_at: datetime


async def find(connection: AsyncConnection, slug: str) -> PlanRow | None:
    row = await _FIND.one(connection, slug=slug)
    return _row(row) if row else None


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[PlanRow]:
    """By slug."""
    return [_row(row) for row in await _PAGE.run(connection, after=after, limit=limit)]


async def put(connection: AsyncConnection, plan: Plan) -> tuple[PlanRow, bool]:
    """Write a plan as a whole; and whether it is new."""
    row = await _PUT.one(connection, **plan._asdict())
    return _row(row), bool(row[-1])


def _row(row: tuple[object, ...]) -> PlanRow:
    values, limits = tuple(row), len(Plan._fields)
    return PlanRow(Plan._make(values[:limits]), *values[limits : limits + 2])  # type: ignore[arg-type]  # a row's columns have no types
