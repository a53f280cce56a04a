"""What a worker tells about itself over HTTP: alive, ready, metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from libs.observability.metrics import MEDIA_TYPE, exposition


class HealthServer(uvicorn.Server):
    """Serves until cancelled; signals belong to the worker."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def health_server(host: str, port: int, ready: Callable[[], bool]) -> HealthServer:
    """`/healthz`: the event loop turns; `/readyz`: the worker polls for work; `/metrics`: Prometheus."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        is_ready = ready()
        return JSONResponse({"status": "ready" if is_ready else "starting"}, 200 if is_ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(exposition(), media_type=MEDIA_TYPE)

    app = Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])
    config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, lifespan="off")
    return HealthServer(config)
