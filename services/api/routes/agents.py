"""Routes of agents and their versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from services.api.answers import json_response
from services.api.dependencies import AnyCall, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, LOCATION, REPLAYED, TOKEN, problems
from services.api.operations import agents
from services.api.route import GuardedRoute
from services.api.schemas.agents import (
    AgentCreate,
    AgentPage,
    AgentRead,
    AgentUpdate,
    VersionCreate,
    VersionPage,
    VersionRead,
    agent_json,
    version_json,
)
from services.api.schemas.shared import MAX_INT, SLUG, page_json

router = APIRouter(prefix="/v1/agents", tags=["agents"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
Slug = Annotated[str, Path(pattern=SLUG)]
VersionNumber = Annotated[int, Path(ge=1, le=MAX_INT)]
MADE = {"Location": LOCATION, "Idempotency-Replayed": REPLAYED}


@router.post(
    "",
    status_code=201,
    response_model=AgentRead,
    responses={
        201: {"headers": MADE},
        **problems(*ALWAYS, *TOKEN, *KEYED, *BODY, "conflict", "model_not_allowed", "quota_exceeded"),
    },
)
async def create_agent(call: KeyedCall, body: AgentCreate) -> Response:
    return (await agents.create_agent(call, body)).response()


@router.get("", response_model=AgentPage)
async def list_agents(call: AnyCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    found = await agents.list_agents(call.services.database, call.tenant_id, cursor, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((agent_json(row) for row in found[:limit]), more))


@router.get("/{agent}", response_model=AgentRead, responses=problems("not_found"))
async def get_agent(call: AnyCall, agent: Slug) -> Response:
    return json_response(agent_json(await agents.get_agent(call.services.database, call.tenant_id, agent)))


@router.patch("/{agent}", response_model=AgentRead, responses=problems("not_found", *BODY))
async def update_agent(call: AnyCall, agent: Slug, body: AgentUpdate) -> Response:
    return json_response(agent_json(await agents.update_agent(call, agent, body.description)))


@router.delete("/{agent}", status_code=204, response_class=Response, responses=problems("not_found"))
async def archive_agent(call: AnyCall, agent: Slug) -> Response:
    await agents.archive_agent(call, agent)
    return Response(status_code=204)


@router.post(
    "/{agent}/versions",
    status_code=201,
    response_model=VersionRead,
    responses={
        200: {"model": VersionRead, "description": "A version with this content was there", "headers": MADE},
        201: {"headers": MADE},
        **problems(
            *ALWAYS, *TOKEN, *KEYED, *BODY, "not_found", "agent_archived", "model_not_allowed", "quota_exceeded"
        ),
    },
)
async def create_agent_version(call: KeyedCall, agent: Slug, body: VersionCreate) -> Response:
    return (await agents.create_version(call, agent, body)).response()


@router.get("/{agent}/versions", response_model=VersionPage, responses=problems("not_found"))
async def list_agent_versions(
    call: AnyCall,
    agent: Slug,
    limit: Limit = 50,
    cursor: Annotated[int | None, Query(ge=1, le=MAX_INT, description="`next_cursor` of the page before")] = None,
) -> Response:
    found = await agents.list_versions(call.services.database, call.tenant_id, agent, cursor, limit + 1)
    more = str(found[limit - 1].number) if len(found) > limit else None
    return json_response(page_json((version_json(row) for row in found[:limit]), more))


@router.get("/{agent}/versions/{number}", response_model=VersionRead, responses=problems("not_found"))
async def get_agent_version(call: AnyCall, agent: Slug, number: VersionNumber) -> Response:
    row = await agents.get_version(call.services.database, call.tenant_id, agent, number)
    return json_response(version_json(row))


@router.post(
    "/{agent}/versions/{number}/promote",
    response_model=AgentRead,
    responses={
        200: {"headers": {"Idempotency-Replayed": REPLAYED}},
        **problems(*ALWAYS, *KEYED, "not_found", "agent_archived"),
    },
)
async def promote_agent_version(call: KeyedCall, agent: Slug, number: VersionNumber) -> Response:
    return (await agents.promote_version(call, agent, number)).response()
