"""Routes of the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import StringConstraints
from starlette.responses import Response, StreamingResponse

from libs.database.audit import AuditFilter, AuditRow
from services.api.answers import json_response
from services.api.dependencies import AnyCall, Cursor, Limit
from services.api.openapi import ALWAYS, TOKEN, problems
from services.api.operations import audit
from services.api.route import GuardedRoute
from services.api.schemas.audit import AuditHeadRead, AuditPage, entry_json, head_json
from services.api.schemas.shared import Moment, Text, page_json

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
Wanted = Annotated[Text, StringConstraints(max_length=300)]
LINES = "application/jsonl"
_LINES: dict[str, Any] = {
    LINES: {"schema": {"type": "string", "description": "one entry, as in the list, to a line"}},
}
_DOWNLOADED = {name: {"schema": {"type": "string"}} for name in ("Content-Disposition", "Cache-Control")}


@router.get("", response_model=AuditPage)
async def list_audit_entries(
    call: AnyCall,
    actor: Wanted | None = None,
    action: Wanted | None = None,
    target: Wanted | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Newest first: an operator's tenant, or for an administrator what belongs to no tenant."""
    wanted = AuditFilter(actor, action, target, since, until, cursor)
    found = await audit.list_entries(call.services.database, call.tenant_id, wanted, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((entry_json(row) for row in found[:limit]), more))


@router.get("/head", response_model=AuditHeadRead)
async def get_audit_head(call: AnyCall) -> Response:
    return json_response(head_json(await audit.get_head(call.services.database, call.tenant_id)))


@router.get(
    "/export",
    response_class=Response,
    responses={200: {"content": _LINES, "description": "JSON lines", "headers": _DOWNLOADED}},
)
async def export_audit_log(
    call: AnyCall, after: Annotated[int, Query(ge=0, le=2**53, description="seq of the last entry already there")] = 0
) -> Response:
    """The whole log as JSON lines: sealed entries in the order of their chain, then those that are not sealed yet."""
    pages = audit.export(call.services.database, call.tenant_id, after)
    # The first page is read before the answer begins, so that a database that is away is a clear error.
    first = await anext(pages)

    async def lines() -> AsyncIterator[bytes]:
        yield _written(first)
        async for page in pages:
            yield _written(page)

    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"', "Cache-Control": "private, no-store"}
    return StreamingResponse(lines(), headers=headers, media_type=LINES)


def _written(rows: list[AuditRow]) -> bytes:
    return "".join(f"{entry_json(row)}\n" for row in rows).encode()
