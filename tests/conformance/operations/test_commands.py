"""Procedures that change no data, typed while a run is in progress."""

from __future__ import annotations

import pytest

from tests.conformance.operations.installation import Installation
from tests.conformance.operations.progress import run_in_progress

pytestmark = pytest.mark.timeout(200)


def running(installation: Installation) -> set[str]:
    services = installation.stack.services()
    return {name for name, each in services.items() if each["pid"] and name.startswith(("api", "worker"))}


async def test_an_upgrade_is_typed(installation: Installation) -> None:
    async with run_in_progress(installation):
        installation.run("upgrade")


async def test_scaling_out_is_typed(installation: Installation) -> None:
    async with run_in_progress(installation):
        installation.run("scale-out")
        assert running(installation) == {"api", "api-2", "worker-1", "worker-2", "worker-3", "worker-4"}
        installation.type("docker compose up --wait --scale api=1 --scale worker=1")
        assert running(installation) == {"api", "worker-1"}
