"""The OpenAPI document: what FastAPI knows of the routes, with every error and header that they answer with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field

from services.api.problems import MEDIA_TYPE, PROBLEMS
from services.api.roles import PLATFORM, ROLES

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
ALWAYS = ("invalid_request", "internal", "dependency_unavailable")
TOKEN = ("unauthenticated", "forbidden", "tenant_suspended", "rate_limited")
KEYED = ("idempotency_key_reused", "idempotency_key_in_use")
BODY = ("payload_too_large", "unsupported_media_type")
RETRY_AFTER = {"schema": {"type": "integer", "minimum": 0}, "description": "seconds to wait before trying again"}
LOCATION = {"schema": {"type": "string"}, "description": "path of what was made"}
REPLAYED = {
    "schema": {"type": "string", "enum": ["true"]},
    "description": "present when this is the answer to an earlier request with the same Idempotency-Key",
}
_WHOLE = {"type": "integer", "minimum": 0}
_LIMITED = "; there when the tenant's plan limits them"
ALLOWANCE = {
    "RateLimit-Limit": {"schema": _WHOLE, "description": f"requests a second of the tenant{_LIMITED}"},
    "RateLimit-Remaining": {"schema": _WHOLE, "description": f"requests that are left in this second{_LIMITED}"},
    "RateLimit-Reset": {"schema": _WHOLE, "description": f"seconds until the next window{_LIMITED}"},
}
_STATUS_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "how to authenticate"}},
    405: {"Allow": {"schema": {"type": "string"}, "description": "the methods that this path takes"}},
    416: {"Content-Range": {"schema": {"type": "string"}, "description": "`bytes */<size>`"}},
    429: {"Retry-After": RETRY_AFTER},
    503: {"Retry-After": RETRY_AFTER},
}


class Flaw(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON pointer into the body; empty for a parameter, which the detail names")
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457), and what to do about it."""

    model_config = ConfigDict(json_schema_extra={"examples": []})

    type: str = Field(examples=["urn:agent-runtime:problem:not_found"])
    title: str
    status: int
    detail: str = Field(description="what was wrong and what to do")
    code: str = Field(description="stable; what programs decide by")
    errors: list[Flaw] | None = None
    trace_id: str | None = Field(default=None, description="with `internal` only: quote it when you report the error")


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that go wrong in these ways, for its `responses`."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, title = PROBLEMS[code]
        known = by_status.setdefault(status, {"codes": [], "titles": []})
        known["codes"].append(code)
        known["titles"].append(title)
    return {
        status: _response(int(status), known["codes"], known["titles"]) for status, known in sorted(by_status.items())
    }


def _response(status: int, codes: list[str], titles: list[str]) -> dict[str, Any]:
    headers = dict(_STATUS_HEADERS.get(status, {}))
    if "idempotency_key_in_use" in codes:
        headers["Retry-After"] = RETRY_AFTER
    schema = {
        "allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"code": {"enum": sorted(codes)}}}],
    }
    return {
        "description": "; ".join(titles),
        "content": {MEDIA_TYPE: {"schema": schema}},
        **({"headers": headers} if headers else {}),
    }


def _with_allowances(found: dict[str, Any]) -> None:
    """What a tenant's callers are told of its requests per second, with every answer."""
    for operation in (each for path in found["paths"].values() for each in path.values()):
        if ROLES[_name(operation)] - PLATFORM:
            for answer in operation["responses"].values():
                answer["headers"] = {**answer.get("headers", {}), **ALLOWANCE}


def _name(operation: dict[str, Any]) -> str:
    """The name of the route, with which FastAPI begins the operation's id."""
    return max((name for name in ROLES if operation["operationId"].startswith(f"{name}_")), key=len)


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document."""
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, openapi_version="3.1.0"
    )
    _with_allowances(found)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schemas["Problem"].pop("$defs", {}))
    schemas["Problem"].pop("examples", None)
    return found


def text(app: FastAPI) -> str:
    return json.dumps(document(app), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write() -> None:
    """Write `docs/openapi.json`."""
    from services.api.application import create_app  # noqa: PLC0415 - the application's routes need this module

    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text(create_app()), encoding="utf-8")
    sys.stdout.write(f"wrote {DOCUMENT}\n")


if __name__ == "__main__":
    write()
