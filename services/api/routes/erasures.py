"""Routes of erasures."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import StringConstraints
from starlette.responses import Response

from services.api.answers import json_response
from services.api.dependencies import AnyCall, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, KEYED, LOCATION, REPLAYED, TOKEN, problems
from services.api.operations import erasures
from services.api.route import GuardedRoute
from services.api.schemas.erasures import ErasurePage, ErasureRead, erasure_json
from services.api.schemas.shared import Text, page_json

router = APIRouter(prefix="/v1", tags=["erasures"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
Subject = Annotated[
    Text, StringConstraints(min_length=1, max_length=255), Path(description="the `sub` of the user's tokens")
]
ERASURE = {**LOCATION, "description": "path of the erasure"}
ASKED: dict[int | str, dict[str, Any]] = {202: {"headers": {"Location": ERASURE}}}
REPLAYABLE: dict[int | str, dict[str, Any]] = {
    202: {"headers": {"Location": ERASURE, "Idempotency-Replayed": REPLAYED}}
}


@router.delete(
    "/runs/{run_id}",
    status_code=202,
    response_model=ErasureRead,
    responses={**ASKED, **problems("not_found", "conflict")},
)
async def delete_run(call: AnyCall, run_id: UUID) -> Response:
    """Erase a run that has ended: its rows, events, files, objects, live events and workflow."""
    return (await erasures.delete_run(call, run_id)).response()


@router.delete("/users/{user}/data", status_code=202, response_model=ErasureRead, responses=ASKED)
async def erase_user_data(call: AnyCall, user: Subject) -> Response:
    """Erase what a user has in this tenant until now: its runs, files and kept answers."""
    return (await erasures.erase_user_data(call, user)).response()


@router.get("/erasures", response_model=ErasurePage)
async def list_erasures(call: AnyCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Newest first: of an operator's tenant, a user's own, or for an administrator those of whole tenants."""
    found = await erasures.list_erasures(call, cursor, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((erasure_json(row) for row in found[:limit]), more))


@router.get("/erasures/{erasure_id}", response_model=ErasureRead, responses=problems("not_found"))
async def get_erasure(call: AnyCall, erasure_id: UUID) -> Response:
    return json_response(erasure_json(await erasures.get_erasure(call, erasure_id)))


@router.post(
    "/erasures/{erasure_id}/check",
    status_code=202,
    response_model=ErasureRead,
    responses={**REPLAYABLE, **problems(*ALWAYS, *KEYED, "not_found")},
)
async def check_erasure(call: KeyedCall, erasure_id: UUID) -> Response:
    """Look again whether nothing is left; what is found is erased."""
    return (await erasures.check_erasure(call, erasure_id)).response()
