"""Routes of users: who there is in a tenant, and who is kept out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from services.api.answers import json_response
from services.api.dependencies import AnyCall, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, LOCATION, REPLAYED, TOKEN, problems
from services.api.operations import blocks, users
from services.api.route import GuardedRoute
from services.api.schemas.shared import page_json, to_json
from services.api.schemas.users import (
    SUBJECT,
    BlockCreate,
    BlockPage,
    BlockRead,
    UserInvite,
    UserInvited,
    UserPage,
    block_json,
)

router = APIRouter(prefix="/v1", tags=["users"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
Subject = Annotated[str, Path(description="the `sub` of the user's tokens", pattern=SUBJECT)]
AfterSubject = Annotated[str | None, Query(description="`next_cursor` of the page before", pattern=SUBJECT)]
DONE: dict[int | str, dict[str, Any]] = {200: {"headers": {"Idempotency-Replayed": REPLAYED}}}


@router.post(
    "/users",
    status_code=201,
    response_model=UserInvited,
    responses={
        201: {"headers": {"Location": LOCATION, "Idempotency-Replayed": REPLAYED}},
        **problems(*ALWAYS, *KEYED, *BODY, "conflict", "provisioning_not_configured", "quota_exceeded"),
    },
)
async def invite_user(call: KeyedCall, body: UserInvite) -> Response:
    """Make a user at the issuer, with a temporary password that is shown once."""
    return (await users.invite_user(call, body)).response()


@router.get("/users", response_model=UserPage, responses=problems(*ALWAYS, "provisioning_not_configured"))
async def list_users(
    call: AnyCall,
    limit: Annotated[int, Query(ge=1, le=100, description="items per page, at most: some pages are shorter")] = 50,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before", max_length=20)] = None,
) -> Response:
    found, more = await users.list_users(call.services, call.caller, cursor, limit)
    return json_response(page_json((to_json(fields) for fields in found), more))


@router.delete(
    "/users/{user}",
    status_code=204,
    responses=problems(*ALWAYS, "not_found", "conflict", "provisioning_not_configured"),
)
async def remove_user(call: AnyCall, user: Subject) -> Response:
    """Block the user here, within a second on every replica, and disable it at the issuer."""
    await users.remove_user(call.services, call.caller, user)
    return Response(status_code=204)


@router.post(
    "/users/{user}/block",
    response_model=BlockRead,
    responses={**DONE, **problems(*ALWAYS, *KEYED, *BODY, "conflict")},
)
async def block_user(call: KeyedCall, user: Subject, body: BlockCreate | None = None) -> Response:
    """Refuse the user's every request and close its open streams, on every replica within a second."""
    return (await blocks.block_user(call, user, body.reason if body else "")).response()


@router.post(
    "/users/{user}/unblock", response_model=BlockRead, responses={**DONE, **problems(*ALWAYS, *KEYED, "not_found")}
)
async def unblock_user(call: KeyedCall, user: Subject) -> Response:
    """Let a blocked user in again; the answer is the block that ended."""
    return (await blocks.unblock_user(call, user)).response()


@router.get("/blocks", response_model=BlockPage)
async def list_blocks(call: AnyCall, limit: Limit = 50, cursor: AfterSubject = None) -> Response:
    """Who is blocked: of the tenant for an operator, of the administrators for an administrator."""
    found = await blocks.list_blocks(call.services.database, call.tenant_id, cursor, limit + 1)
    more = found[limit - 1].subject if len(found) > limit else None
    return json_response(page_json((block_json(row) for row in found[:limit]), more))
