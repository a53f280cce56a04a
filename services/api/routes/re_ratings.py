"""Routes of re-ratings."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from services.api.answers import json_response
from services.api.dependencies import AnyCall, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, LOCATION, REPLAYED, TOKEN, problems
from services.api.operations import re_ratings
from services.api.route import GuardedRoute
from services.api.schemas.re_ratings import ReRatingCreate, ReRatingPage, ReRatingRead, re_rating_json
from services.api.schemas.shared import page_json

router = APIRouter(
    prefix="/v1/re-ratings", tags=["usage"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN)
)
MADE = {"Location": {**LOCATION, "description": "path of the re-rating"}, "Idempotency-Replayed": REPLAYED}


@router.post(
    "",
    status_code=202,
    response_model=ReRatingRead,
    responses={202: {"headers": MADE}, **problems(*ALWAYS, *KEYED, *BODY)},
)
async def create_re_rating(call: KeyedCall, body: ReRatingCreate) -> Response:
    """Price past calls again. Nothing is changed but by correcting rows, and a second time adds none."""
    return (await re_ratings.create_re_rating(call, body)).response()


@router.get("", response_model=ReRatingPage)
async def list_re_ratings(call: AnyCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Newest first."""
    found = await re_ratings.list_re_ratings(call, cursor, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((re_rating_json(row) for row in found[:limit]), more))


@router.get("/{re_rating_id}", response_model=ReRatingRead, responses=problems("not_found"))
async def get_re_rating(call: AnyCall, re_rating_id: UUID) -> Response:
    return json_response(re_rating_json(await re_ratings.get_re_rating(call, re_rating_id)))
