"""Routes of runs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from libs.database.runs import RunFilter
from services.api.answers import json_response
from services.api.dependencies import AnyCall, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, LOCATION, REPLAYED, TOKEN, problems
from services.api.operations import control, explanations, runs
from services.api.route import GuardedRoute
from services.api.schemas.explanations import ExplanationRead
from services.api.schemas.runs import (
    RunControl,
    RunCreate,
    RunPage,
    RunRead,
    RunStatus,
    RunSummary,
    labels_json,
    run_json,
)
from services.api.schemas.shared import Moment, Slug, page_json

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
MADE = {"Location": LOCATION, "Idempotency-Replayed": REPLAYED}
ASKED = {202: {"headers": MADE}, **problems(*ALWAYS, *KEYED, *BODY, "not_found", "conflict", "run_finished")}


@router.post(
    "",
    status_code=202,
    response_model=RunRead,
    responses={
        202: {"headers": MADE},
        **problems(
            *ALWAYS,
            *TOKEN,
            *KEYED,
            *BODY,
            "not_found",
            "agent_archived",
            "no_promoted_version",
            "model_not_allowed",
            "too_many_runs",
        ),
    },
)
async def create_run(call: KeyedCall, body: RunCreate) -> Response:
    return (await runs.start_run(call, body)).response()


@router.get("/{run_id}", response_model=RunRead, responses=problems("not_found"))
async def get_run(
    call: AnyCall,
    run_id: UUID,
    wait: Annotated[float, Query(ge=0, le=60, description="seconds to wait for the run's end")] = 0,
) -> Response:
    return json_response(await runs.get_run(call.services, call.caller, run_id, wait))


@router.get("/{run_id}/explain", response_model=ExplanationRead, responses=problems("not_found"))
async def explain_run(call: AnyCall, run_id: UUID) -> Response:
    return json_response(await explanations.explain_run(call.services, call.caller, run_id))


@router.get("", response_model=RunPage)
async def list_runs(
    call: AnyCall,
    agent: Slug | None = None,
    status: Annotated[list[RunStatus] | None, Query(max_length=9, description="may be given more than once")] = None,
    label: Annotated[list[str] | None, Query(max_length=20, description="key:value; a run must have all")] = None,
    created_after: Moment | None = None,
    created_before: Moment | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    wanted = RunFilter(
        agent=agent,
        statuses=tuple(status or ()),
        labels=labels_json(label) if label else None,
        created_after=created_after,
        created_before=created_before,
        before=cursor,
    )
    found = await runs.list_runs(call.services, call.caller, wanted, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((run_json(row) for row in found[:limit]), more))


@router.post("/{run_id}/pause", status_code=202, response_model=RunSummary, responses=ASKED)
async def pause_run(call: KeyedCall, run_id: UUID, body: RunControl | None = None) -> Response:
    return (await control.control_run(call, run_id, "pause", body.reason if body else None)).response()


@router.post("/{run_id}/resume", status_code=202, response_model=RunSummary, responses=ASKED)
async def resume_run(call: KeyedCall, run_id: UUID, body: RunControl | None = None) -> Response:
    return (await control.control_run(call, run_id, "resume", body.reason if body else None)).response()


@router.post("/{run_id}/cancel", status_code=202, response_model=RunSummary, responses=ASKED)
async def cancel_run(call: KeyedCall, run_id: UUID, body: RunControl | None = None) -> Response:
    return (await control.control_run(call, run_id, "cancel", body.reason if body else None)).response()
