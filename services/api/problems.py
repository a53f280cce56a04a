"""The one place that turns what went wrong into an answer: `application/problem+json` (RFC 9457) with a stable code."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from libs.database.engine import is_unavailable
from libs.domain.errors import DependencyUnavailable, DomainProblem, Flaw, InvalidRequest, LimitReached
from libs.observability.context import current

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# code -> (status, title)
PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid_request": (422, "The request is not valid"),
    "unauthenticated": (401, "The caller is not known"),
    "forbidden": (403, "The caller may not do this"),
    "tenant_suspended": (403, "The tenant is suspended"),
    "model_not_allowed": (403, "The tenant's plan does not allow the model"),
    "not_found": (404, "There is no such thing"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "conflict": (409, "The request does not fit the current state"),
    "run_finished": (409, "The run has finished"),
    "agent_archived": (409, "The agent is archived"),
    "no_promoted_version": (409, "The agent has no promoted version"),
    "provisioning_not_configured": (409, "Users and service accounts are not managed from here"),
    "idempotency_key_in_use": (409, "The first request with this key is still running"),
    "quota_exceeded": (409, "The tenant's plan allows no more of this"),
    "payload_too_large": (413, "The request is too large"),
    "unsupported_media_type": (415, "The media type is not supported"),
    "range_not_satisfiable": (416, "The range is not within the content"),
    "idempotency_key_reused": (422, "The key was used for another request"),
    "rate_limited": (429, "Too many requests"),
    "too_many_runs": (429, "Too many runs wait for their turn"),
    "internal": (500, "Something went wrong here"),
    "secrets_not_configured": (501, "This platform keeps no secrets"),
    "dependency_unavailable": (503, "A part that this needs does not answer"),
}
AWAY_RETRY_SECONDS = 2
IN_USE_RETRY_SECONDS = 1
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large", 415: "unsupported_media_type"}
_MAX_FLAWS = 50


def install(app: FastAPI) -> None:
    """Answer every error of the application from here."""
    app.add_exception_handler(DomainProblem, _on_domain_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)


def problem(
    code: str, detail: str, flaws: Sequence[Flaw] = (), headers: dict[str, str] | None = None, **more: Any
) -> Response:
    status, title = PROBLEMS[code]
    content: dict[str, Any] = {
        "type": f"urn:agent-runtime:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }
    if flaws:
        content["errors"] = [{"pointer": flaw.pointer, "detail": flaw.detail} for flaw in flaws]
    # ASCII only: what was sent may be quoted, and may hold what UTF-8 cannot.
    return Response(json.dumps(content), status, headers, MEDIA_TYPE)


def answer_unexpected(error: Exception) -> Response:
    """Neither message nor place of an unexpected error is for the caller; the trace id finds both in the log."""
    if is_unavailable(error):
        logger.warning("the database does not answer: %s", type(error).__name__)
        return answer(DependencyUnavailable("database", "The database does not answer.", AWAY_RETRY_SECONDS))
    if str(getattr(getattr(error, "orig", None), "sqlstate", "")).startswith("22"):
        logger.warning("a value was refused by the database", exc_info=error)
        return answer(InvalidRequest("A value in the request cannot be stored."))
    logger.error("a request failed", exc_info=error)
    trace = current().get("trace_id", "")
    return problem("internal", f"This is our mistake. Quote the trace id {trace} when you report it.", trace_id=trace)


def answer(error: DomainProblem) -> Response:
    headers = {}
    detail = error.detail
    if error.code == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="agent-runtime"'
    if isinstance(error, DependencyUnavailable):
        headers["Retry-After"] = str(error.retry_after)
        detail = f"{detail} Nothing was lost; try again in {error.retry_after} seconds."
    if isinstance(error, LimitReached):
        headers["Retry-After"] = str(error.retry_after)
    if error.code == "idempotency_key_in_use":
        headers["Retry-After"] = str(IN_USE_RETRY_SECONDS)
    flaws = error.flaws if isinstance(error, InvalidRequest) else ()
    return problem(error.code, detail, flaws, headers)


async def _on_domain_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainProblem)  # noqa: S101 - it is registered for nothing else
    return answer(error)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for nothing else
    flaws = [_flaw(found, error.body) for found in error.errors()[:_MAX_FLAWS]]
    return problem("invalid_request", "Correct what `errors` names and send the request again.", flaws)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    code = _BY_STATUS.get(error.status_code, "invalid_request")
    detail = {
        "not_found": "There is no such path. The API is under /v1; see /openapi.json.",
        "method_not_allowed": "This path does not take this method; the header Allow names those that it takes.",
    }.get(code, "The request cannot be used.")
    return problem(code, detail, headers=dict(error.headers or {}))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return problem("invalid_request", "The connection was closed before the body was complete.")


def _flaw(found: dict[str, Any], body: Any) -> Flaw:
    place, *path = found.get("loc") or ("body",)
    message = str(found.get("msg", "is not valid"))
    if place == "body":
        parts = _within(body, path, missing=found.get("type") == "missing")
        return Flaw("".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts), message)
    return Flaw("", f"{place} parameter {'.'.join(str(part) for part in path)}: {message}")


def _within(body: Any, path: Sequence[Any], *, missing: bool) -> list[Any]:
    """A place in the body, without the parts that only say which of several forms was tried there."""
    parts = []
    for number, part in enumerate(path, 1):
        there = isinstance(body, dict) and part in body
        there = there or (isinstance(body, list) and isinstance(part, int) and part < len(body))
        if there or (missing and number == len(path) and isinstance(body, dict)):
            parts.append(part)
            body = body[part] if there else None
    return parts
