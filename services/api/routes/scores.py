"""Routes of a run's scores."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from services.api.answers import json_response
from services.api.dependencies import AnyCall, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, REPLAYED, TOKEN, problems
from services.api.operations import scores
from services.api.route import GuardedRoute
from services.api.schemas.scores import ScoreCreate, ScorePage, ScoreRead, score_json
from services.api.schemas.shared import page_json

router = APIRouter(
    prefix="/v1/runs/{run_id}/scores", tags=["scores"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN)
)


@router.post(
    "",
    status_code=201,
    response_model=ScoreRead,
    responses={
        201: {"headers": {"Idempotency-Replayed": REPLAYED}},
        **problems(*ALWAYS, *KEYED, *BODY, "not_found"),
    },
)
async def score_run(call: KeyedCall, run_id: UUID, body: ScoreCreate) -> Response:
    return (await scores.score_run(call, run_id, body)).response()


@router.get("", response_model=ScorePage, responses=problems("not_found"))
async def list_scores(call: AnyCall, run_id: UUID, limit: Limit = 50, cursor: Cursor = None) -> Response:
    found = await scores.list_scores(call.services, call.caller, run_id, cursor, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((score_json(row) for row in found[:limit]), more))
