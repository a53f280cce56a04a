"""The calls about agents and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, tell, walk
from agent_runtime.messages import get, post, present, send
from agent_runtime.models import Agent, AgentVersion
from agent_runtime.steps import Flow, Plan

Spec = Mapping[str, Any]


def create_agent(
    slug: str, spec: Spec, *, description: str | None = None, idempotency_key: str | None = None
) -> Plan[Agent]:
    """Create an agent; `spec` becomes its version 1, promoted.

    `slug` is lower-case letters, digits and hyphens, 63 at most. Raises `Conflict` (slug taken), `InvalidRequest`.
    """
    body = present(slug=slug, description=description, spec=dict(spec))
    return ask(post("agents", body=body, key=idempotency_key), Agent.received)


def get_agent(agent: str) -> Plan[Agent]:
    """One agent, by slug. Raises `NotFound`."""
    return ask(get("agents", agent), Agent.received)


def list_agents(*, page_size: int = 50) -> Flow[Agent]:
    """Every agent of the tenant; pages of `page_size` (1 to 200) are fetched as needed."""
    return walk(get("agents", params=[("limit", page_size)]), Agent)


def describe_agent(agent: str, description: str) -> Plan[Agent]:
    """Change an agent's description. Raises `NotFound`."""
    return ask(send("PATCH", "agents", agent, body={"description": description}), Agent.received)


def archive_agent(agent: str) -> Plan[None]:
    """Archive an agent: it takes no more runs; its versions and runs stay readable. Raises `NotFound`."""
    return tell(send("DELETE", "agents", agent))


def create_version(
    agent: str, spec: Spec, *, promote: bool = False, idempotency_key: str | None = None
) -> Plan[AgentVersion]:
    """Add a version; a spec that the agent already has returns that version.

    Raises `NotFound`, `AgentArchived`, `InvalidRequest`.
    """
    body = {"spec": dict(spec), "promote": promote}
    return ask(post("agents", agent, "versions", body=body, key=idempotency_key), AgentVersion.received)


def get_version(agent: str, number: int) -> Plan[AgentVersion]:
    """One version of an agent. Raises `NotFound`."""
    return ask(get("agents", agent, "versions", number), AgentVersion.received)


def list_versions(agent: str, *, page_size: int = 50) -> Flow[AgentVersion]:
    """Every version of an agent. Raises `NotFound`."""
    return walk(get("agents", agent, "versions", params=[("limit", page_size)]), AgentVersion)


def promote_version(agent: str, number: int, *, idempotency_key: str | None = None) -> Plan[Agent]:
    """Make a version the one that new runs get; runs in progress keep theirs. Raises `NotFound`."""
    return ask(post("agents", agent, "versions", number, "promote", key=idempotency_key), Agent.received)


class Agents(Noun):
    """`client.agents`"""

    create = Call(create_agent)
    get = Call(get_agent)
    list = Items(list_agents)
    describe = Call(describe_agent)
    archive = Call(archive_agent)


class Versions(Noun):
    """`client.versions`"""

    create = Call(create_version)
    get = Call(get_version)
    list = Items(list_versions)
    promote = Call(promote_version)


class AsyncAgents(AsyncNoun):
    """`client.agents`"""

    create = AsyncCall(create_agent)
    get = AsyncCall(get_agent)
    list = AsyncItems(list_agents)
    describe = AsyncCall(describe_agent)
    archive = AsyncCall(archive_agent)


class AsyncVersions(AsyncNoun):
    """`client.versions`"""

    create = AsyncCall(create_version)
    get = AsyncCall(get_version)
    list = AsyncItems(list_versions)
    promote = AsyncCall(promote_version)
