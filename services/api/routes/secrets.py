"""Routes of secrets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from libs.domain.secrets import NAME
from services.api.answers import json_response
from services.api.dependencies import AnyCall, Limit
from services.api.openapi import ALWAYS, BODY, TOKEN, problems
from services.api.operations import secrets
from services.api.route import GuardedRoute
from services.api.schemas.secrets import SecretPage, SecretPut, SecretRead, secret_json
from services.api.schemas.shared import page_json

router = APIRouter(
    prefix="/v1/secrets", tags=["secrets"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN)
)
Name = Annotated[str, Path(pattern=NAME)]
After = Annotated[str | None, Query(pattern=NAME, description="`next_cursor` of the page before")]


@router.put(
    "/{name}",
    response_model=SecretRead,
    responses={
        201: {"model": SecretRead, "description": "It was not there before"},
        **problems(*ALWAYS, *BODY, "secrets_not_configured", "quota_exceeded"),
    },
)
async def put_secret(call: AnyCall, name: Name, body: SecretPut) -> Response:
    row, made = await secrets.put_secret(call, name, body.value)
    return json_response(secret_json(row), 201 if made else 200)


@router.get("", response_model=SecretPage)
async def list_secrets(call: AnyCall, limit: Limit = 50, cursor: After = None) -> Response:
    found = await secrets.list_secrets(call.services.database, call.tenant_id, cursor, limit + 1)
    more = found[limit - 1].name if len(found) > limit else None
    return json_response(page_json((secret_json(row) for row in found[:limit]), more))


@router.delete("/{name}", status_code=204, response_class=Response, responses=problems("not_found"))
async def delete_secret(call: AnyCall, name: Name) -> Response:
    await secrets.delete_secret(call, name)
    return Response(status_code=204)
