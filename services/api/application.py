"""The FastAPI application: routes, the answer to errors, and what is known about every request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.api import openapi, problems
from services.api.observing import Observing
from services.api.routes import (
    agents,
    artifacts,
    audit,
    erasures,
    events,
    plans,
    prices,
    re_ratings,
    runs,
    scores,
    secrets,
    service_accounts,
    system,
    tenants,
    traces,
    usage,
    users,
)
from services.api.services import LifespanState
from services.api.version import VERSION

DESCRIPTION = """Runs AI agents as durable jobs. Every request but `GET /v1/version` needs a bearer token.
Errors are `application/problem+json` with a stable `code`. A body may have 1 MiB, an artifact 32 MiB."""
# Routes are tried in order, so what is asked most stands first.
ROUTERS = (
    events.router, runs.router, scores.router, agents.router, artifacts.router, tenants.router, users.router,
    plans.router, prices.router, re_ratings.router, usage.router, audit.router, erasures.router, secrets.router,
    service_accounts.router, traces.router, system.router,
)  # fmt: skip

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[LifespanState]]


@asynccontextmanager
async def _nothing(app: FastAPI) -> AsyncIterator[None]:
    yield


def create_app(lifespan: Lifespan | None = None) -> FastAPI:
    app = FastAPI(
        title="Agent Runtime",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan or _nothing,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    for router in ROUTERS:
        # Not `include_router`: that would match every request twice.
        app.router.routes.extend(router.routes)
    described: list[str] = []

    async def get_openapi(request: Request) -> Response:
        if not described:
            described.append(openapi.text(app))
        return Response(described[0], media_type="application/json")

    app.router.add_route("/openapi.json", get_openapi, methods=["GET"], include_in_schema=False)
    app.add_middleware(Observing)
    problems.install(app)
    return app
