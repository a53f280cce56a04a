"""Versions of agents, ready to be run: immutable, so they are read once and kept."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from libs.database import steps
from libs.database.engine import Database
from libs.domain.agents import AgentSpec
from libs.domain.texts import dump
from libs.domain.tool_specs import ToolSpec
from libs.domain.tools import Tool, ToolFunction

CACHED_VERSIONS = 512
Functions = Mapping[str, tuple[Tool, ToolFunction]]
BuildTools = Callable[[Sequence[ToolSpec]], Functions]


@dataclass(frozen=True)
class Version:
    """A spec with its tools built and described in the OpenAI format."""

    spec: AgentSpec
    functions: Functions
    definitions: list[dict[str, Any]]
    response_format: dict[str, Any] | None
    fixed_bytes: int  # of what is sent with every call beside the messages

    @property
    def secrets(self) -> frozenset[str]:
        """The names of those that the spec needs."""
        return frozenset(self.spec.secrets.values())

    @property
    def parameters(self) -> dict[str, Any]:
        return self.spec.parameters.model_dump(exclude_none=True)


class Specs:
    """The versions that this worker has met."""

    def __init__(self, database: Database, build_tools: BuildTools) -> None:
        self._database = database
        self._build_tools = build_tools
        self._versions: OrderedDict[tuple[UUID, UUID, int], Version] = OrderedDict()

    def known(self, tenant_id: UUID, agent_id: UUID, number: int) -> Version | None:
        """A version that this worker has met."""
        return self._versions.get((tenant_id, agent_id, number))

    async def get(self, tenant_id: UUID, agent_id: UUID, number: int) -> Version:
        key = (tenant_id, agent_id, number)
        version = self._versions.get(key)
        if version is None:
            async with self._database.tenant(tenant_id) as connection:
                text = await steps.spec(connection, tenant_id, agent_id, number)
            version = self._versions[key] = self._build(text)
        self._versions.move_to_end(key)
        while len(self._versions) > CACHED_VERSIONS:
            self._versions.popitem(last=False)
        return version

    def _build(self, text: str) -> Version:
        spec = AgentSpec.model_validate(json.loads(text))
        functions = self._build_tools(spec.tools)
        definitions = [_definition(function) for _, function in functions.values()]
        form = _response_format(spec)
        fixed = len(dump(definitions).encode()) + len(dump(form or {}).encode())
        return Version(spec, functions, definitions, form, fixed)


def _definition(function: ToolFunction) -> dict[str, Any]:
    described = {"name": function.name, "description": function.description, "parameters": function.parameters}
    return {"type": "function", "function": described}


def _response_format(spec: AgentSpec) -> dict[str, Any] | None:
    if spec.output_schema is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": spec.output_schema}}
