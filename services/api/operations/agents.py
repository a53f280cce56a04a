"""What operators do with agents and their versions."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import agents
from libs.database.agents import AgentRow, VersionRow
from libs.database.engine import Database
from libs.domain.agents import digest
from libs.domain.errors import AgentArchived, Conflict, Flaw, InvalidRequest, NotFound
from libs.domain.texts import clean_value
from services.api.answers import Answer
from services.api.dependencies import Call
from services.api.operations.idempotency import answer_once
from services.api.schemas.agents import AgentCreate, VersionCreate, agent_json, version_json


async def create_agent(call: Call, wanted: AgentCreate) -> Answer:
    """An agent with version 1, which is promoted."""
    spec, spec_digest = _spec_text(call.sent["spec"])

    async def work(connection: AsyncConnection) -> Answer:
        by = call.caller.subject
        agent = await agents.add(connection, call.tenant_id, wanted.slug, wanted.description, by)
        if agent is None:
            raise Conflict(f"An agent {wanted.slug} exists already (perhaps archived). Choose another slug.")
        number = await agents.add_version(connection, call.tenant_id, agent.id, spec_digest, spec, by)
        agent = await agents.promote(connection, agent.id, number)
        return Answer(201, agent_json(agent), f"/v1/agents/{agent.slug}")

    return await answer_once(call.services.database, call.caller, call.key, work)


async def list_agents(database: Database, tenant_id: UUID, before: UUID | None, limit: int) -> list[AgentRow]:
    async with database.tenant(tenant_id) as connection:
        return await agents.page(connection, before, limit)


async def get_agent(database: Database, tenant_id: UUID, slug: str) -> AgentRow:
    async with database.tenant(tenant_id) as connection:
        return _found(await agents.find(connection, slug), slug)


async def update_agent(database: Database, tenant_id: UUID, slug: str, description: str | None) -> AgentRow:
    if description is None:
        return await get_agent(database, tenant_id, slug)
    async with database.tenant(tenant_id) as connection:
        return _found(await agents.describe(connection, slug, description), slug)


async def archive_agent(database: Database, tenant_id: UUID, slug: str) -> None:
    """No new runs from now on; its runs and versions stay."""
    async with database.tenant(tenant_id) as connection:
        if not await agents.archive(connection, slug):
            raise _missing(slug)


async def create_version(call: Call, slug: str, wanted: VersionCreate) -> Answer:
    """A new version, or the one that has this content already."""
    spec, spec_digest = _spec_text(call.sent["spec"])

    async def work(connection: AsyncConnection) -> Answer:
        agent = _found(await agents.lock(connection, slug), slug)
        if agent.archived_at is not None:
            raise AgentArchived(f"The agent {slug} is archived; it takes no new versions.")
        known = await agents.find_digest(connection, agent.id, spec_digest)
        number = (
            known.number
            if known
            else await agents.add_version(connection, call.tenant_id, agent.id, spec_digest, spec, call.caller.subject)
        )
        if wanted.promote:
            await agents.promote(connection, agent.id, number)
        version = await agents.find_version(connection, slug, number)
        assert version is not None  # noqa: S101 - the transaction wrote or read it
        return Answer(200 if known else 201, version_json(version), f"/v1/agents/{slug}/versions/{number}")

    return await answer_once(call.services.database, call.caller, call.key, work)


async def list_versions(
    database: Database, tenant_id: UUID, slug: str, before: int | None, limit: int
) -> list[VersionRow]:
    async with database.tenant(tenant_id) as connection:
        found = await agents.versions_page(connection, slug, before, limit)
        if not found:
            _found(await agents.find(connection, slug), slug)
        return found


async def get_version(database: Database, tenant_id: UUID, slug: str, number: int) -> VersionRow:
    async with database.tenant(tenant_id) as connection:
        row = await agents.find_version(connection, slug, number)
    if row is None:
        raise NotFound(f"The agent {slug} has no version {number}, or there is no such agent.")
    return row


async def promote_version(call: Call, slug: str, number: int) -> Answer:
    """Runs that name no version get this one from now on."""

    async def work(connection: AsyncConnection) -> Answer:
        agent = _found(await agents.lock(connection, slug), slug)
        if agent.archived_at is not None:
            raise AgentArchived(f"The agent {slug} is archived; nothing can be promoted.")
        if await agents.find_version(connection, slug, number) is None:
            raise NotFound(f"The agent {slug} has no version {number}.")
        return Answer(200, agent_json(await agents.promote(connection, agent.id, number)))

    return await answer_once(call.services.database, call.caller, call.key, work)


def _spec_text(spec: Any) -> tuple[str, str]:
    """The spec as it was sent, in JSON text, and its digest."""
    if clean_value(spec)[1]:
        flaw = Flaw("/spec", "contains NUL or half of a surrogate pair")
        raise InvalidRequest("The spec contains characters that cannot be stored.", (flaw,))
    return json.dumps(spec, ensure_ascii=False, separators=(",", ":")), digest(spec)


def _found(row: AgentRow | None, slug: str) -> AgentRow:
    if row is None:
        raise _missing(slug)
    return row


def _missing(slug: str) -> NotFound:
    return NotFound(f"There is no agent {slug}.")
