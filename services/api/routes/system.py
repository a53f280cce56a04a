"""What tells about the API itself; none of it needs a token."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.responses import Response

from libs.observability.metrics import MEDIA_TYPE, exposition
from services.api.answers import json_response
from services.api.dependencies import get_services
from services.api.route import GuardedRoute
from services.api.schemas.shared import to_json
from services.api.services import Services
from services.api.version import VERSION

router = APIRouter(tags=["system"], route_class=GuardedRoute)


class VersionInfo(BaseModel):
    version: str
    api: Literal["v1"]
    issuer: str = Field(description="the OpenID Connect issuer whose access tokens are believed: log in there")


class Health(BaseModel):
    status: Literal["ok"]


class Dependency(BaseModel):
    status: Literal["ok", "down"]
    detail: str | None = None
    required: bool


class ReadinessReport(BaseModel):
    status: Literal["ok", "unavailable"]
    dependencies: dict[str, Dependency]


@router.get("/v1/version", response_model=VersionInfo)
async def get_version(services: Annotated[Services, Depends(get_services)]) -> Response:
    return json_response(to_json({"version": VERSION, "api": "v1", "issuer": services.issuer}))


@router.get("/healthz", response_model=Health)
async def check_health() -> Response:
    """The process is alive."""
    return json_response('{"status":"ok"}')


@router.get(
    "/readyz",
    response_model=ReadinessReport,
    responses={503: {"model": ReadinessReport, "description": "A part that is required does not answer"}},
)
async def check_readiness(services: Annotated[Services, Depends(get_services)]) -> Response:
    """Whether requests can be served, and which part does not answer."""
    ready, parts = await services.readiness.report()
    report: dict[str, Any] = {"status": "ok" if ready else "unavailable", "dependencies": parts}
    return json_response(to_json(report), 200 if ready else 503)


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def get_metrics() -> Response:
    """Prometheus' text format."""
    return Response(exposition(), headers={"Content-Type": MEDIA_TYPE})
