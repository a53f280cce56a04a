"""The server that answers in raw bytes, and a way out that may reach it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from libs.tools.addresses import EgressPolicy
from libs.tools.egress import Egress
from tests.integration.tools.servers import Server, names


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()


@pytest_asyncio.fixture
async def egress(server: Server) -> AsyncIterator[Egress]:
    made = Egress(EgressPolicy.parse(f"127.0.0.1:{server.port}"), names)
    yield made
    await made.close()
