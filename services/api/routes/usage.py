"""The route of usage."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import StringConstraints
from starlette.responses import Response

from libs.database.usage import UsageFilter
from libs.domain.errors import InvalidRequest
from libs.domain.plans import MODEL_PATTERN
from services.api.answers import json_response
from services.api.dependencies import AnyCall, Limit
from services.api.openapi import ALWAYS, TOKEN, problems
from services.api.operations import usage
from services.api.route import GuardedRoute
from services.api.schemas.runs import labels_json
from services.api.schemas.shared import Slug, Text
from services.api.schemas.usage import DayOrMoment, UsageReport, place_of, report_json

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
BY_DEFAULT, AT_MOST = timedelta(days=30), timedelta(days=400)
FIRST = datetime(2, 1, 1, tzinfo=UTC)
GroupKey = Annotated[str, StringConstraints(pattern=r"^(day|agent|model|user|tenant|label:[a-z0-9_.-]{1,63})$")]


@router.get("", response_model=UsageReport)
async def get_usage(
    call: AnyCall,
    group_by: Annotated[
        list[GroupKey] | None,
        Query(max_length=5, description="day, agent, model, user, label:KEY, or for administrators tenant; several do"),
    ] = None,
    since: Annotated[
        DayOrMoment | None, Query(alias="from", description="a day (UTC) or a time; default: 30 days before `to`")
    ] = None,
    until: Annotated[
        DayOrMoment | None,
        Query(alias="to", description="a day (UTC) or a time, not included; default: tomorrow"),
    ] = None,
    agent: Slug | None = None,
    model: Annotated[str | None, Query(pattern=MODEL_PATTERN, description="provider/model or provider/*")] = None,
    user: Annotated[Text, StringConstraints(max_length=300)] | None = None,
    label: Annotated[list[str] | None, Query(max_length=20, description="key:value; a run must have all")] = None,
    limit: Limit = 200,
    cursor: Annotated[str | None, Query(max_length=4096, description="`next_cursor` of the page before")] = None,
) -> Response:
    """What model calls used and cost. A call counts on the day on which it was opened."""
    names = tuple(dict.fromkeys(group_by or ()))
    keys = tuple(name.partition(":")[0] for name in names)
    if len(set(keys)) < len(keys):
        raise InvalidRequest("Group by one label at a time.")
    since, until = _period(since, until)
    provider, _, name = (model or "").partition("/")
    wanted = UsageFilter(
        since,
        until,
        agent=agent,
        provider=provider or None,
        model=name if name not in ("", "*") else None,
        user=user,
        labels=labels_json(label) if label else None,
        label_key=next((each.partition(":")[2] for each in names if ":" in each), None),
    )
    after = place_of(cursor, len(keys)) if cursor is not None else None
    total, groups = await usage.sum_usage(call, keys, wanted, after, limit)
    return json_response(report_json(since, until, names, total, groups[:limit], len(groups) > limit))


def _period(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """What is asked for; by default whole days, today included."""
    until = until or datetime.combine(datetime.now(UTC).date(), time(), UTC) + timedelta(days=1)
    if since is None:
        since = max(until, FIRST) - BY_DEFAULT
    if since > until or until - since > AT_MOST:
        raise InvalidRequest(f"`from` must not be after `to`, nor more than {AT_MOST.days} days before it.")
    return since, until
