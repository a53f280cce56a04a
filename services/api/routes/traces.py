"""Routes of what observers refused of runs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from services.api.answers import json_response
from services.api.dependencies import AnyCall, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, REPLAYED, TOKEN, problems
from services.api.operations import traces
from services.api.route import GuardedRoute
from services.api.schemas.shared import page_json
from services.api.schemas.traces import RefusalPage, RefusalRetry, RetriesAsked, refusal_json

router = APIRouter(prefix="/v1/traces", tags=["traces"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))


@router.get("/refused", response_model=RefusalPage)
async def list_refused_traces(call: AnyCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Newest first: what an observer would not take. It is kept until another attempt, asked for here, succeeds."""
    found = await traces.list_refused(call, cursor, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((refusal_json(row) for row in found[:limit]), more))


@router.post(
    "/refused/retry",
    status_code=202,
    response_model=RetriesAsked,
    responses={
        202: {"headers": {"Idempotency-Replayed": REPLAYED}},
        **problems(*ALWAYS, *KEYED, *BODY, "not_found"),
    },
)
async def retry_refused_traces(call: KeyedCall, body: RefusalRetry) -> Response:
    """Have what was refused sent again, and scores that nobody took, of one run or all, 10,000 of each at once."""
    return (await traces.retry_refused(call, body.run_id)).response()
