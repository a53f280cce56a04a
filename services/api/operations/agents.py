"""What operators do with agents and their versions."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import agents, audit
from libs.database.agents import AgentRow, VersionRow
from libs.database.engine import Database
from libs.domain.agents import digest
from libs.domain.errors import AgentArchived, Conflict, Flaw, InvalidRequest, NotFound
from libs.domain.texts import clean_value
from services.api.answers import Answer
from services.api.callers import Caller
from services.api.dependencies import Call
from services.api.operations.allowances import require_allowed, require_room, require_version
from services.api.operations.idempotency import answer_once
from services.api.operations.prompts import answered_before, pinned
from services.api.operations.secrets import check_named
from services.api.schemas.agents import AgentCreate, VersionCreate, agent_json, version_json


async def create_agent(call: Call, wanted: AgentCreate) -> Answer:
    """An agent with version 1, which is promoted."""
    require_allowed(call.services, call.tenant_id, wanted.spec.model)
    if (answer := await answered_before(call, wanted.spec)) is not None:
        return answer
    sent, prompt = await pinned(call, wanted.spec)
    spec, spec_digest = _spec_text(sent)

    async def work(connection: AsyncConnection) -> Answer:
        by = call.caller.subject
        await check_named(connection, wanted.spec)
        agent = await agents.add(connection, call.tenant_id, wanted.slug, wanted.description, by)
        if agent is None:
            raise Conflict(f"An agent {wanted.slug} exists already (perhaps archived). Choose another slug.")
        await require_room(connection, call, "agents")
        number = await agents.add_version(connection, call.tenant_id, agent.id, spec_digest, spec, by)
        agent = await agents.promote(connection, agent.id, number)
        after = {"description": agent.description, "promoted_version": number, "digest": spec_digest, **prompt}
        await _note(connection, call.caller, "create_agent", f"agent/{agent.slug}", None, after)
        return Answer(201, agent_json(agent), f"/v1/agents/{agent.slug}")

    return await answer_once(call.services.database, call.caller, call.key, work)


async def list_agents(database: Database, tenant_id: UUID, before: UUID | None, limit: int) -> list[AgentRow]:
    async with database.tenant(tenant_id) as connection:
        return await agents.page(connection, before, limit)


async def get_agent(database: Database, tenant_id: UUID, slug: str) -> AgentRow:
    async with database.tenant(tenant_id) as connection:
        return _found(await agents.find(connection, slug), slug)


async def update_agent(call: Call, slug: str, description: str | None) -> AgentRow:
    async with call.services.database.tenant(call.tenant_id) as connection:
        before = _found(await agents.lock(connection, slug), slug)
        if description is None or description == before.description:
            return before
        row = _found(await agents.describe(connection, slug, description), slug)
        was, became = {"description": before.description}, {"description": description}
        await _note(connection, call.caller, "update_agent", f"agent/{slug}", was, became)
        return row


async def archive_agent(call: Call, slug: str) -> None:
    """No new runs from now on; its runs and versions stay."""
    async with call.services.database.tenant(call.tenant_id) as connection:
        if _found(await agents.lock(connection, slug), slug).archived_at is None:
            await agents.archive(connection, slug)
            was, became = {"archived": False}, {"archived": True}
            await _note(connection, call.caller, "archive_agent", f"agent/{slug}", was, became)


async def create_version(call: Call, slug: str, wanted: VersionCreate) -> Answer:
    """A new version, or the one that has this content already.

    A prompt that it names is read before, outside of any transaction, and its text is the content.
    """
    require_allowed(call.services, call.tenant_id, wanted.spec.model)
    if (answer := await answered_before(call, wanted.spec)) is not None:
        return answer
    sent, prompt = await pinned(call, wanted.spec)
    spec, spec_digest = _spec_text(sent)

    async def work(connection: AsyncConnection) -> Answer:
        agent = _found(await agents.lock(connection, slug), slug)
        if agent.archived_at is not None:
            raise AgentArchived(f"The agent {slug} is archived; it takes no new versions.")
        await check_named(connection, wanted.spec)
        known = await agents.find_digest(connection, agent.id, spec_digest)
        number = (
            known.number
            if known
            else await agents.add_version(connection, call.tenant_id, agent.id, spec_digest, spec, call.caller.subject)
        )
        if known is None:
            require_version(call, number)
            target, after = f"agent/{slug}/version/{number}", {"digest": spec_digest, **prompt}
            await _note(connection, call.caller, "create_agent_version", target, None, after)
        if wanted.promote:
            await _promote(connection, call.caller, agent, number)
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
        return Answer(200, agent_json(await _promote(connection, call.caller, agent, number)))

    return await answer_once(call.services.database, call.caller, call.key, work)


async def _promote(connection: AsyncConnection, caller: Caller, agent: AgentRow, number: int) -> AgentRow:
    promoted = await agents.promote(connection, agent.id, number)
    if agent.promoted_version != number:
        was, became = {"promoted_version": agent.promoted_version}, {"promoted_version": number}
        await _note(connection, caller, "promote_agent_version", f"agent/{agent.slug}", was, became)
    return promoted


async def _note(connection: AsyncConnection, caller: Caller, action: str, target: str, before: Any, after: Any) -> None:
    await audit.append(
        connection,
        actor=caller.subject,
        source=caller.source,
        action=action,
        target=target,
        before=before,
        after=after,
    )


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
