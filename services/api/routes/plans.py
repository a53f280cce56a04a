"""Routes of plans."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from services.api.answers import json_response
from services.api.dependencies import AnyCall, Limit
from services.api.openapi import ALWAYS, BODY, LOCATION, TOKEN, problems
from services.api.operations import plans
from services.api.route import GuardedRoute
from services.api.schemas.plans import PlanPage, PlanRead, PlanWrite, plan_json
from services.api.schemas.shared import SLUG, page_json

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
Slug = Annotated[str, Path(pattern=SLUG)]


@router.get("", response_model=PlanPage)
async def list_plans(
    call: AnyCall,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=SLUG, description="`next_cursor` of the page before")] = None,
) -> Response:
    found = await plans.list_plans(call.services.database, cursor, limit + 1)
    more = found[limit - 1].plan.slug if len(found) > limit else None
    return json_response(page_json((plan_json(row) for row in found[:limit]), more))


@router.get("/{plan}", response_model=PlanRead, responses=problems("not_found"))
async def get_plan(call: AnyCall, plan: Slug) -> Response:
    return json_response(plan_json(await plans.get_plan(call.services.database, call.caller, plan)))


@router.put(
    "/{plan}",
    response_model=PlanRead,
    responses={
        201: {"model": PlanRead, "description": "The plan is new", "headers": {"Location": LOCATION}},
        **problems(*ALWAYS, *BODY),
    },
)
async def put_plan(call: AnyCall, plan: Slug, body: PlanWrite) -> Response:
    row, new = await plans.put_plan(call, body.named(plan))
    answer = json_response(plan_json(row), 201 if new else 200)
    if new:
        answer.headers["Location"] = f"/v1/plans/{plan}"
    return answer
