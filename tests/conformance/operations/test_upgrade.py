"""Two releases on one database: runs begin under one and end under the other, and none is lost or done twice."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from agent_runtime import AsyncClient
from agent_runtime.client import settings as client_settings

from deploy.embedded.ports import LOOPBACK
from libs.domain.ids import workflow_id
from tests.conformance.operations import later_worker, releases
from tests.conformance.operations.procedures import procedures
from tests.fixtures.embedded import FAST, EmbeddedPlatform
from tests.fixtures.platform import NO_TLS, TENANT, call, eventually

pytestmark = pytest.mark.timeout(200)
WORKER, API = "services.worker.main", "services.api.main"
HELD = {"content": "Done.", "hold_after_chunks": 1, "hold_times": 1}


def turns() -> list[dict[str, Any]]:
    return [{"tool_calls": [call("look", item="a")]}, HELD]


async def begun(platform: EmbeddedPlatform, api: AsyncClient, count: int) -> list[str]:
    """Runs that made a turn and wait for their model in the next."""
    async with platform.model() as model:
        tool = platform.tool("look", "read")
        agent = await platform.agent(api, model, turns(), tools=[tool])
        # Each a conversation of its own, which the model holds once.
        started = [(await api.runs.start(agent, f"hello {number}")).id for number in range(count)]
        assert len(await model.requests(agent, state="held", count=count, wait=40)) == count
    return started


async def ended(platform: EmbeddedPlatform, api: AsyncClient, runs: list[str]) -> None:
    async with platform.records() as records:
        for run in runs:
            assert (await api.runs.wait(run, timeout=60)).output == "Done."
            record = await records.run(run)
            record.check()
            assert Counter(record.types)["tool.completed"] == 1


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    commit = releases.find()
    if commit is None:
        pytest.skip(f"the history of this clone does not reach the release before {releases.NEXT_MIGRATION}")
    return releases.unpack(commit, tmp_path_factory.mktemp("older"))


def environment(platform: EmbeddedPlatform) -> dict[str, str]:
    return {**platform.stack.environment(), **platform._environment, **FAST}


@asynccontextmanager
async def older_worker(platform: EmbeddedPlatform, older: Path) -> AsyncIterator[None]:
    port = str(free_port())
    own = {"WORKER_METRICS_PORT": port, "WORKER_NAME": "older"}
    with releases.program(older, WORKER, environment(platform) | own, f"http://{LOOPBACK}:{port}/readyz"):
        yield


@asynccontextmanager
async def older_api(platform: EmbeddedPlatform, older: Path) -> AsyncIterator[AsyncClient]:
    port = str(free_port())
    own = {"API_HOST": LOOPBACK, "API_PORT": port}
    url = f"http://{LOOPBACK}:{port}"
    with releases.program(older, API, environment(platform) | own, f"{url}/readyz"):
        http = httpx.AsyncClient(**client_settings(url, 30), verify=NO_TLS)
        async with AsyncClient(url, platform.token("operator", TENANT), http=http) as api:
            yield api


def test_the_schema_comes_first() -> None:
    first, second = procedures()["upgrade"].splitlines()
    assert "run" in first
    assert "migrations" in first
    assert second == "docker compose up --wait"


async def test_runs_of_an_older_release_end_under_this_one_and_back(platform: EmbeddedPlatform, older: Path) -> None:
    """The schema is this release's. Upgrade: api and worker of the older one go. Rollback: the older worker returns."""
    async with platform.client() as api:
        async with older_worker(platform, older), older_api(platform, older) as before:
            upgraded = await begun(platform, before, 2)
        with platform.workers(1):
            await ended(platform, api, upgraded)
            rolled_back = await begun(platform, api, 2)
        async with older_worker(platform, older):
            done, waiting = await asyncio.wait(
                [asyncio.create_task(ended(platform, api, [run])) for run in rolled_back], timeout=15
            )
        with platform.workers(1):  # those whose log the older release does not understand have waited for this one
            await asyncio.gather(*done, *waiting)


async def test_both_releases_at_once(platform: EmbeddedPlatform, older: Path) -> None:
    async with platform.client() as api, older_worker(platform, older):
        with platform.workers(1):
            runs = await begun(platform, api, 6)
            async with platform.model() as model:
                await model.release()
            await ended(platform, api, runs)


async def test_a_newer_log_is_left_to_a_newer_worker(platform: EmbeddedPlatform) -> None:
    """Rule 7: ours fails such a step as often as it must, never the run."""
    async with platform.client() as api:
        with platform.workers(2):
            (run,) = await begun(platform, api, 1)
            await api.runs.pause(run)
            async with platform.model() as model:
                await model.release()  # a step is not broken off for a pause
            async with platform.records() as records:
                await records.until(run, lambda seen: seen.row["status"] == "paused")
                await raise_log_version(platform, run)
                await api.runs.resume(run)
                await eventually(partial(refused, platform, run))
                left = await records.run(run)
                assert left.row["status"] not in ("completed", "failed", "cancelled")
            with platform.workers(1, later_worker.MODULE):
                await ended(platform, api, [run])


async def refused(platform: EmbeddedPlatform, run: str) -> bool:
    """Whether a step of the run has failed, more than once, and will be tried again."""
    temporal = await platform.temporal()
    handle = temporal.get_workflow_handle(workflow_id(UUID(platform.tenants[TENANT]), UUID(run)))
    pending = (await handle.describe()).raw_description.pending_activities
    return any(each.attempt > 2 and "newer worker" in each.last_failure.message for each in pending)


async def raise_log_version(platform: EmbeddedPlatform, run: str) -> None:
    """As a newer worker does with its first event."""
    postgres = platform.stack.servers.postgres
    assert postgres is not None
    connection: asyncpg.Connection[asyncpg.Record] = await postgres._connect("agent_runtime")
    await connection.execute("UPDATE runs SET log_version = $2 WHERE id = $1::uuid", run, later_worker.UNDERSTANDS)
    await connection.close()


async def test_a_workflow_that_changed_is_started_again_from_the_log(platform: EmbeddedPlatform) -> None:
    """Rule 14: what cannot be replayed closes; the run goes on, with the turn that it had made."""
    async with platform.client() as api:
        with platform.workers(1):
            runs = await begun(platform, api, 3)
        with platform.workers(1, later_worker.MODULE, WORKFLOW="changed"):
            await ended(platform, api, runs)
            begun_later = await begun(platform, api, 1)
        with platform.workers(1):  # and back
            await ended(platform, api, begun_later)
