"""The reference gateway as a container that stands in for Kong: the same ports, the same rendered configuration."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.conformance.gateway.reference import Gateway

PROXY_PORT, STATUS_PORT = 8000, 8007


async def _ready(request: Request) -> Response:
    return PlainTextResponse("ready")


def _server(app: object, port: int) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]  # any ASGI application
            host="0.0.0.0",  # noqa: S104 - inside a container
            port=port,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    )


async def main(config: Any) -> None:
    gateway = Gateway(config)
    status = Starlette(routes=[Route("/status/ready", _ready)])
    servers = [_server(gateway.app, PROXY_PORT), _server(status, STATUS_PORT)]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, servers)
    try:
        await asyncio.gather(*(server._serve() for server in servers))  # `serve` would take the signals
    finally:
        gateway.close()


def _stop(servers: Sequence[uvicorn.Server]) -> None:
    for server in servers:
        server.should_exit = True


if __name__ == "__main__":
    rendered = Path(os.environ["KONG_DECLARATIVE_CONFIG"]).read_text(encoding="utf-8")
    asyncio.run(main(yaml.safe_load(rendered)))
