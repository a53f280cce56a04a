"""The route of a run's log: a JSON page, or a stream by `Accept: text/event-stream`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from libs.domain.errors import InvalidRequest
from services.api.answers import json_response
from services.api.dependencies import AnyCall
from services.api.feed import EventStreamResponse
from services.api.openapi import ALWAYS, TOKEN, problems
from services.api.operations import events
from services.api.route import GuardedRoute
from services.api.schemas.events import EventPage, event_json
from services.api.schemas.shared import MAX_INT, page_json

router = APIRouter(prefix="/v1/runs", tags=["events"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
STREAM = {
    "description": "A page of events, or with `Accept: text/event-stream` all of them as they come",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "string",
                "description": "Server-Sent Events: `id: <seq>`, `event: <type>`, `data: <event>`; and `event: delta` "
                "without an id, `data: {turn, attempt, base_seq, index, text}`. A comment every 15 s. The stream ends "
                "after the run's last event, or when the access token expires: come back with Last-Event-ID.",
            }
        }
    },
}


@router.get("/{run_id}/events", response_model=EventPage, responses={200: STREAM, **problems("not_found")})
async def list_run_events(
    request: Request,
    call: AnyCall,
    run_id: UUID,
    after: Annotated[int, Query(ge=0, le=MAX_INT, description="seq of the last event already seen")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="events per page; not for streams")] = 50,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="as `after`, and goes before it; for streams")
    ] = None,
) -> Response:
    if "text/event-stream" in request.headers.get("accept", ""):
        start = after if last_event_id is None else _seq(last_event_id)
        return EventStreamResponse(await events.open_feed(call.services, call.caller, run_id, start))
    page = (await events.read_page(call.services, call.caller, run_id, after, limit)).events
    more = str(page[-1].seq) if len(page) == limit else None
    return json_response(page_json((event_json(event) for event in page), more))


def _seq(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= MAX_INT):
        raise InvalidRequest("Last-Event-ID must be the id of the last event that was received.")
    return int(text)
