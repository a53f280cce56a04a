"""Routes of artifacts."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.database.artifacts import ArtifactRow
from libs.domain.errors import InvalidRequest
from services.api.answers import json_response
from services.api.dependencies import AnyCall, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, KEYED, LOCATION, REPLAYED, TOKEN, problems
from services.api.operations import artifacts
from services.api.problems import problem
from services.api.ranges import NotWithin, matches, wanted_part
from services.api.route import GuardedRoute
from services.api.schemas.artifacts import ArtifactPage, ArtifactRead, artifact_json
from services.api.schemas.shared import page_json

router = APIRouter(prefix="/v1", tags=["artifacts"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}( *;[\x20-\x7e]{0,200})?")
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/\\]+$")]
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
# An artifact comes back under the media type that it was sent with.
_ANY: dict[str, Any] = {"*/*": {}}
_CONTENT_HEADERS = {
    "ETag": {**_TEXT, "description": "the content's SHA-256, in quotes"},
    "Accept-Ranges": {"schema": {"type": "string", "enum": ["bytes"]}},
    "Content-Disposition": {**_TEXT, "description": "attachment, with the artifact's name"},
    "X-Content-Type-Options": {"schema": {"type": "string", "enum": ["nosniff"]}},
    "Cache-Control": _TEXT,
}
_RANGE_HEADER = {"Content-Range": _TEXT}


@router.post(
    "/artifacts",
    status_code=201,
    response_model=ArtifactRead,
    responses={
        201: {"headers": {"Location": LOCATION, "Idempotency-Replayed": REPLAYED}},
        **problems(*ALWAYS, *KEYED, "payload_too_large", "quota_exceeded"),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"*/*": _BINARY["application/octet-stream"]}}},
)
async def create_artifact(request: Request, call: KeyedCall, name: Annotated[Name, Query()]) -> Response:
    """Upload the raw body, at most 32 MiB, under its Content-Type."""
    media_type = _media_type(request.headers.get("content-type"))
    described = artifacts.describe(call, name, media_type)
    return (await artifacts.create_artifact(described, name, media_type, request.stream())).response()


@router.get("/artifacts", response_model=ArtifactPage, responses=problems("not_found"))
async def list_artifacts(
    call: AnyCall, run_id: UUID | None = None, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    return await _page(call, run_id, limit, cursor)


@router.get("/runs/{run_id}/artifacts", response_model=ArtifactPage, responses=problems("not_found"))
async def list_run_artifacts(call: AnyCall, run_id: UUID, limit: Limit = 50, cursor: Cursor = None) -> Response:
    return await _page(call, run_id, limit, cursor)


@router.get("/artifacts/{artifact_id}", response_model=ArtifactRead, responses=problems("not_found"))
async def get_artifact(call: AnyCall, artifact_id: UUID) -> Response:
    row = await artifacts.get_artifact(call.services.database, call.caller, artifact_id)
    return json_response(artifact_json(row))


@router.get(
    "/artifacts/{artifact_id}/content",
    response_class=Response,
    responses={
        200: {"content": _ANY, "headers": _CONTENT_HEADERS, "description": "The content, of its own media type"},
        206: {"content": _ANY, "headers": {**_CONTENT_HEADERS, **_RANGE_HEADER}, "description": "The part wanted"},
        304: {"headers": {"ETag": _TEXT}, "description": "The content that If-None-Match names"},
        **problems("not_found", "range_not_satisfiable"),
    },
)
async def get_artifact_content(request: Request, call: AnyCall, artifact_id: UUID) -> Response:
    """Streamed; a single `Range` of bytes and `If-None-Match` are understood."""
    row = await artifacts.get_artifact(call.services.database, call.caller, artifact_id)
    tag = f'"{row.sha256}"'
    if matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers={"ETag": tag})
    asked = request.headers.get("range")
    if request.headers.get("if-range", tag) != tag:
        asked = None
    try:
        part = wanted_part(asked, row.size)
    except NotWithin:
        headers = {"Content-Range": f"bytes */{row.size}"}
        return problem("range_not_satisfiable", f"The artifact has {row.size} bytes.", headers=headers)
    headers = _headers(row, tag)
    if row.size == 0:
        return Response(b"", 200, headers, row.media_type)
    if part is None:
        content = call.services.objects.stream(row.object_key, None, None)
        headers["Content-Length"] = str(row.size)
        return await _streamed(content, 200, headers, row.media_type)
    headers["Content-Range"] = f"bytes {part.start}-{part.end}/{row.size}"
    headers["Content-Length"] = str(part.end - part.start + 1)
    content = call.services.objects.stream(row.object_key, part.start, part.end)
    return await _streamed(content, 206, headers, row.media_type)


async def _streamed(content: Any, status: int, headers: dict[str, str], media_type: str) -> Response:
    """The first piece is fetched before the answer begins, so that a store that is away is a clear error."""
    first = await anext(content, b"")

    async def pieces() -> Any:
        yield first
        async for piece in content:
            yield piece

    return StreamingResponse(pieces(), status, headers, media_type)


def _headers(row: ArtifactRow, tag: str) -> dict[str, str]:
    """Never rendered by a browser as part of this origin, whatever was uploaded."""
    return {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(row.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }


async def _page(call: AnyCall, run_id: UUID | None, limit: int, cursor: UUID | None) -> Response:
    found = await artifacts.list_artifacts(call.services.database, call.caller, run_id, cursor, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((artifact_json(row) for row in found[:limit]), more))


def _media_type(header: str | None) -> str:
    if header is None:
        return "application/octet-stream"
    if not _MEDIA_TYPE.fullmatch(header):
        raise InvalidRequest("The header Content-Type is not a media type.")
    return header
