"""Rows of agents and their versions."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.admission import ENTRY, Places
from libs.database.statements import Statement

_AGENT = "id, slug, description, promoted_version, archived_at, created_at"
_VERSION = (
    "v.agent_id, a.slug, v.number, v.digest, v.spec, "
    "coalesce(a.promoted_version = v.number, false), v.created_at, v.created_by"
)
_ADD = Statement(
    f"""
    INSERT INTO agents (tenant_id, slug, description, created_by)
    VALUES (CAST(:tenant AS uuid), CAST(:slug AS text), CAST(:description AS text), CAST(:by AS text))
    ON CONFLICT DO NOTHING RETURNING {_AGENT}
    """
)
_FIND = Statement(f"SELECT {_AGENT} FROM agents WHERE slug = CAST(:slug AS text)")
_LOCK = Statement(f"SELECT {_AGENT} FROM agents WHERE slug = CAST(:slug AS text) FOR UPDATE")
_PAGE = Statement(
    f"""
    SELECT {_AGENT} FROM agents WHERE CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)
    ORDER BY id DESC LIMIT CAST(:limit AS int)
    """
)
_DESCRIBE = Statement(
    f"UPDATE agents SET description = CAST(:description AS text) WHERE slug = CAST(:slug AS text) RETURNING {_AGENT}"
)
_ARCHIVE = Statement(
    """
    UPDATE agents SET archived_at = coalesce(archived_at, clock_timestamp())
    WHERE slug = CAST(:slug AS text) RETURNING id
    """
)
_PROMOTE = Statement(
    f"UPDATE agents SET promoted_version = CAST(:number AS int) WHERE id = CAST(:agent AS uuid) RETURNING {_AGENT}"
)
_ADD_VERSION = Statement(
    """
    INSERT INTO agent_versions (tenant_id, agent_id, number, digest, spec, created_by)
    SELECT CAST(:tenant AS uuid), CAST(:agent AS uuid), coalesce(max(number), 0) + 1, CAST(:digest AS text),
           CAST(:spec AS text), CAST(:by AS text)
    FROM agent_versions WHERE agent_id = CAST(:agent AS uuid)
    RETURNING number
    """
)
_FIND_VERSION = Statement(
    f"""
    SELECT {_VERSION} FROM agent_versions v JOIN agents a ON a.tenant_id = v.tenant_id AND a.id = v.agent_id
    WHERE a.slug = CAST(:slug AS text) AND v.number = CAST(:number AS int)
    """
)
_FIND_DIGEST = Statement(
    f"""
    SELECT {_VERSION} FROM agent_versions v JOIN agents a ON a.tenant_id = v.tenant_id AND a.id = v.agent_id
    WHERE a.id = CAST(:agent AS uuid) AND v.digest = CAST(:digest AS text)
    """
)
_VERSIONS_PAGE = Statement(
    f"""
    SELECT {_VERSION} FROM agent_versions v JOIN agents a ON a.tenant_id = v.tenant_id AND a.id = v.agent_id
    WHERE a.slug = CAST(:slug AS text) AND (CAST(:before AS int) IS NULL OR v.number < CAST(:before AS int))
    ORDER BY v.number DESC LIMIT CAST(:limit AS int)
    """
)
_RUNNABLE = Statement(
    f"""
    SELECT a.id, a.archived_at IS NOT NULL, v.number, t.status, p.running_runs, p.queued_runs, p.allowed_models,
           {ENTRY}
    FROM tenants t
    JOIN plans p ON p.slug = t.plan
    LEFT JOIN agents a ON a.tenant_id = t.id AND a.slug = CAST(:slug AS text)
    LEFT JOIN agent_versions v
        ON v.tenant_id = a.tenant_id AND v.agent_id = a.id
        AND v.number = coalesce(CAST(:number AS int), a.promoted_version)
    """
)
_SPEC = Statement(
    "SELECT spec FROM agent_versions WHERE agent_id = CAST(:agent AS uuid) AND number = CAST(:number AS int)"
)


class AgentRow(NamedTuple):
    id: UUID
    slug: str
    description: str
    promoted_version: int | None
    archived_at: datetime | None
    created_at: datetime


class VersionRow(NamedTuple):
    agent_id: UUID
    agent: str
    number: int
    digest: str
    spec: str
    promoted: bool
    created_at: datetime
    created_by: str


class Runnable(NamedTuple):
    """What a new run needs to know; `agent_id` or `number` is None where there is none.

    `entry` is how the transaction may give places: `exact`, `shared`, or None where there is no limit; `unseen` is how
    many runs it may not see then.
    """

    agent_id: UUID | None
    archived: bool
    number: int | None
    tenant_status: str
    running_runs: int | None
    queued_runs: int | None
    allowed_models: list[str] | None
    entry: str | None
    unseen: int

    @property
    def places(self) -> Places:
        if self.running_runs is None:
            return Places(None, self.queued_runs, True)
        exact = self.entry == "exact"
        return Places(self.running_runs if exact else self.running_runs - self.unseen, self.queued_runs, exact)


async def add(connection: AsyncConnection, tenant_id: UUID, slug: str, description: str, by: str) -> AgentRow | None:
    """None when the slug is taken."""
    row = await _ADD.one(connection, tenant=tenant_id, slug=slug, description=description, by=by)
    return AgentRow._make(row) if row else None


async def find(connection: AsyncConnection, slug: str) -> AgentRow | None:
    row = await _FIND.one(connection, slug=slug)
    return AgentRow._make(row) if row else None


async def lock(connection: AsyncConnection, slug: str) -> AgentRow | None:
    """The same, and nobody else numbers or promotes versions until the transaction ends."""
    row = await _LOCK.one(connection, slug=slug)
    return AgentRow._make(row) if row else None


async def page(connection: AsyncConnection, before: UUID | None, limit: int) -> list[AgentRow]:
    """Newest first."""
    return [AgentRow._make(row) for row in await _PAGE.run(connection, before=before, limit=limit)]


async def describe(connection: AsyncConnection, slug: str, description: str) -> AgentRow | None:
    row = await _DESCRIBE.one(connection, slug=slug, description=description)
    return AgentRow._make(row) if row else None


async def archive(connection: AsyncConnection, slug: str) -> bool:
    return await _ARCHIVE.one(connection, slug=slug) is not None


async def promote(connection: AsyncConnection, agent_id: UUID, number: int) -> AgentRow:
    return AgentRow._make(await _PROMOTE.one(connection, agent=agent_id, number=number))


async def add_version(
    connection: AsyncConnection, tenant_id: UUID, agent_id: UUID, digest: str, spec: str, by: str
) -> int:
    """The next number; the agent's row must be locked."""
    row = await _ADD_VERSION.one(connection, tenant=tenant_id, agent=agent_id, digest=digest, spec=spec, by=by)
    return int(row[0])


async def find_version(connection: AsyncConnection, slug: str, number: int) -> VersionRow | None:
    row = await _FIND_VERSION.one(connection, slug=slug, number=number)
    return VersionRow._make(row) if row else None


async def find_digest(connection: AsyncConnection, agent_id: UUID, digest: str) -> VersionRow | None:
    row = await _FIND_DIGEST.one(connection, agent=agent_id, digest=digest)
    return VersionRow._make(row) if row else None


async def versions_page(connection: AsyncConnection, slug: str, before: int | None, limit: int) -> list[VersionRow]:
    """Newest first."""
    return [
        VersionRow._make(row) for row in await _VERSIONS_PAGE.run(connection, slug=slug, before=before, limit=limit)
    ]


async def runnable(
    connection: AsyncConnection, slug: str, number: int | None, *, exactly: bool = False
) -> Runnable | None:
    """The agent, the version asked for or the promoted one, and what the tenant may run; None without a tenant.

    The transaction may give a place afterwards; `exactly` where every place counts.
    """
    row = await _RUNNABLE.one(connection, slug=slug, number=number, exactly=exactly)
    return Runnable._make(row) if row else None


async def spec(connection: AsyncConnection, agent_id: UUID, number: int) -> str:
    """JSON text as received. It never changes."""
    row = await _SPEC.one(connection, agent=agent_id, number=number)
    return str(row[0])
