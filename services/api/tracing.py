"""What of a request stands in the trace of a run: who accepted it, and what was asked of it afterwards."""

from __future__ import annotations

import re
import time
from secrets import token_hex
from uuid import UUID

from starlette.types import Message, Scope

from libs.observability import traceparent
from libs.observability.tracing import ACCEPT, EndedSpan, Tracing

_RUN = re.compile(rb"/v1/runs/([0-9a-f-]{36})")
_FIRST_ERROR = 400
_NOBODYS = frozenset({401, 403, 404, 429})  # whoever is turned away leaves nothing in the trace of a run


def trace_request(tracing: Tracing, scope: Scope, answer: Message, started: int) -> None:
    """Every POST about a run. The caller's own trace is linked: the run has one of its own."""
    route = str(getattr(scope.get("route"), "path", ""))
    if scope["method"] != "POST" or not route.startswith("/v1/runs"):
        return
    headers = {name.lower(): value for name, value in answer.get("headers", ())}
    run_id = None if answer["status"] in _NOBODYS else _run_of(scope, headers)
    if run_id is None or not tracing.traces(run_id):
        return
    status = answer["status"]
    accepted = route == "/v1/runs" and b"idempotency-replayed" not in headers
    attributes = {"http.request.method": "POST", "http.route": route, "http.response.status_code": status}
    span = EndedSpan(
        run_id,
        ACCEPT if accepted else f"request/{token_hex(8)}",
        f"POST {route}",
        "server",
        started,
        time.time_ns(),
        None if accepted else ACCEPT,
        attributes,
        str(status) if status >= _FIRST_ERROR else "",
        traceparent.read(scope["headers"]),
    )
    tracing.add(span)


def _run_of(scope: Scope, headers: dict[bytes, bytes]) -> UUID | None:
    """The run that the path names, or the one that was accepted."""
    if named := scope.get("path_params", {}).get("run_id"):
        try:
            return UUID(str(named))
        except ValueError:
            return None
    match = _RUN.fullmatch(headers.get(b"location", b""))
    return UUID(match[1].decode()) if match else None
