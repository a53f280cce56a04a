"""Routes of service accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from services.api.answers import json_response
from services.api.dependencies import AnyCall, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, LOCATION, REPLAYED, TOKEN, problems
from services.api.operations import service_accounts
from services.api.route import GuardedRoute
from services.api.schemas.service_accounts import (
    ServiceAccountCreate,
    ServiceAccountPage,
    ServiceAccountSecret,
    account_fields,
)
from services.api.schemas.shared import SLUG, page_json, to_json

router = APIRouter(
    prefix="/v1/service-accounts",
    tags=["service accounts"],
    route_class=GuardedRoute,
    responses=problems(*ALWAYS, *TOKEN),
)
Name = Annotated[str, Path(description="name of the service account", pattern=SLUG)]
AfterName = Annotated[str | None, Query(description="`next_cursor` of the page before", pattern=SLUG)]
MADE = {"Location": LOCATION, "Idempotency-Replayed": REPLAYED}


@router.post(
    "",
    status_code=201,
    response_model=ServiceAccountSecret,
    responses={
        201: {"headers": MADE},
        **problems(*ALWAYS, *KEYED, *BODY, "conflict", "provisioning_not_configured", "quota_exceeded"),
    },
)
async def create_service_account(call: KeyedCall, body: ServiceAccountCreate) -> Response:
    """Make a client at the issuer that acts for your tenant in this role; its secret is shown once."""
    return (await service_accounts.create_account(call, body)).response()


@router.get("", response_model=ServiceAccountPage)
async def list_service_accounts(call: AnyCall, limit: Limit = 50, cursor: AfterName = None) -> Response:
    found = await service_accounts.list_accounts(call.services.database, call.tenant_id, cursor, limit + 1)
    more = found[limit - 1].name if len(found) > limit else None
    return json_response(page_json((to_json(account_fields(row)) for row in found[:limit]), more))


@router.post(
    "/{account}/rotate",
    response_model=ServiceAccountSecret,
    responses={
        200: {"headers": MADE},
        **problems(*ALWAYS, *KEYED, "not_found", "conflict", "provisioning_not_configured"),
    },
)
async def rotate_service_account(call: KeyedCall, account: Name) -> Response:
    """A new secret, shown once; the one before gets no more tokens."""
    return (await service_accounts.rotate_account(call, account)).response()


@router.delete(
    "/{account}", status_code=204, responses=problems(*ALWAYS, "not_found", "conflict", "provisioning_not_configured")
)
async def delete_service_account(call: AnyCall, account: Name) -> Response:
    """Its tokens are refused within a second on every replica; its client at the issuer is deleted."""
    await service_accounts.delete_account(call.services, call.caller, account)
    return Response(status_code=204)
