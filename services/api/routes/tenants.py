"""Routes of tenants."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from services.api.answers import Answer, json_response
from services.api.dependencies import AnyCall, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, LOCATION, REPLAYED, TOKEN, problems
from services.api.operations import founding, tenants
from services.api.route import GuardedRoute
from services.api.schemas.shared import page_json
from services.api.schemas.tenants import TenantCreate, TenantMade, TenantPage, TenantRead, TenantUpdate, tenant_json

router = APIRouter(
    prefix="/v1/tenants", tags=["tenants"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN)
)
ERASURE = {"schema": {"type": "string"}, "description": "path of the erasure, which tells how far it has come"}
Name = Annotated[str, Path(description="id or slug", max_length=100)]


@router.post(
    "",
    status_code=201,
    response_model=TenantMade,
    responses={
        201: {"headers": {"Location": LOCATION, "Idempotency-Replayed": REPLAYED}},
        **problems(*ALWAYS, *KEYED, *BODY, "conflict", "provisioning_not_configured"),
    },
)
async def create_tenant(call: KeyedCall, body: TenantCreate) -> Response:
    if body.operator is not None:
        return (await founding.found_tenant(call, body, body.operator)).response()
    return (await tenants.create_tenant(call, body)).response()


@router.get("", response_model=TenantPage)
async def list_tenants(call: AnyCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    found = await tenants.list_tenants(call.services.database, cursor, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((tenant_json(row) for row in found[:limit]), more))


@router.get("/{tenant}", response_model=TenantRead, responses=problems("not_found"))
async def get_tenant(call: AnyCall, tenant: Name) -> Response:
    return json_response(tenant_json(await tenants.get_tenant(call.services.database, call.caller, tenant)))


@router.patch("/{tenant}", response_model=TenantRead, responses=problems(*ALWAYS, "not_found", "conflict", *BODY))
async def update_tenant(call: AnyCall, tenant: Name, body: TenantUpdate) -> Response:
    return json_response(tenant_json(await tenants.update_tenant(call, tenant, body)))


@router.delete(
    "/{tenant}",
    status_code=202,
    response_model=TenantRead,
    responses={202: {"headers": {"Location": ERASURE}}, **problems("not_found")},
)
async def delete_tenant(call: AnyCall, tenant: Name) -> Response:
    """Mark the tenant as `deleting`: everything of it is refused at once and erased afterwards, without a way back."""
    row, erasure_id = await tenants.delete_tenant(call, tenant)
    return Answer(202, tenant_json(row), f"/v1/erasures/{erasure_id}").response()
