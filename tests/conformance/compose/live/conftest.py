"""The shipped compose file as a project of its own, really up, for the session; with KONG=1 behind a real Kong."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from agent_runtime import AsyncClient

from deploy.demo.containers import DEVELOPMENT_PASSWORD, START_SECONDS, Compose, prepared, world_on
from deploy.demo.model_control import ModelControl
from deploy.demo.sign_in import SignedIn
from deploy.demo.world import World
from tests.fixtures.compose.engine import engine_runs

PROJECT = f"agent-runtime-live-{os.getpid()}"
READY = ("healthy", "exited")
TENANTS = ("acme", "globex")  # of the users for development
WITHOUT_KONG = Path("tests/conformance/compose/without-kong.yml")


@dataclass
class Installation:
    """A project that is up, and how to use it."""

    compose: Compose
    world: World

    def client(self) -> AsyncClient:
        """An operator of the tenant, by a token of Keycloak, through the gateway."""
        return AsyncClient(self.world.api_url, self.world.operator)

    def model(self) -> ModelControl:
        return ModelControl(self.world.model_url)

    async def agent(self, api: AsyncClient, model: ModelControl, turns: list[dict[str, object]], **spec: object) -> str:
        """An agent that is answered by a script of its own."""
        slug = f"a-{uuid4().hex[:12]}"
        await model.add(slug, turns)
        await api.agents.create(slug, {"model": f"scripted/{slug}", **spec})
        return slug

    def signed_in(self, name: str) -> SignedIn:
        return SignedIn(f"{self.world.api_url}/realms/agent-runtime", name, DEVELOPMENT_PASSWORD)

    def wait_until_ready(self, seconds: float = 300) -> None:
        """Until every container is healthy, or has done its work."""
        until = time.monotonic() + seconds
        while waiting := {name: state for name, state in self.compose.states().items() if state not in READY}:
            assert time.monotonic() < until, waiting
            time.sleep(1)

    def container(self, service: str) -> str:
        return self.compose("ps", "--all", "--quiet", service).split()[0]


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    if not engine_runs():
        pytest.skip("there is no container engine")
    compose, url = prepared(PROJECT, () if os.environ.get("KONG") else (WITHOUT_KONG,))
    try:
        compose("up", "--wait", "--pull", "missing", seconds=START_SECONDS)
        world = world_on(compose, url)
        asyncio.run(_make_tenants(world))
        yield Installation(compose, world)
    except BaseException:
        print(compose("logs", "--tail", "40")[-20_000:])  # noqa: T201 - what pytest shows of a failure
        raise
    finally:
        compose("down", "--volumes", "--timeout", "5")


async def _make_tenants(world: World) -> None:
    async with AsyncClient(world.api_url, world.admin) as admin:
        for slug in TENANTS:
            await admin.tenants.create(slug, name=slug)
