"""What clients do, through the gateway and with tokens of the real Keycloak."""

from __future__ import annotations

import asyncio
import os
import tomllib
from uuid import uuid4

import httpx
import pytest
from agent_runtime import ApiProblem, AsyncClient

from tests.fixtures.compose.project import Installation
from tests.fixtures.compose.rendering import ROOT

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

LONG = {"content": "A long answer. " * 40, "chunks": 4, "hold_after_chunks": 2}


async def test_the_api_knows_its_version(installation: Installation) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    async with installation.client() as api:
        assert (await api.version()).version == project["version"]


async def test_the_same_key_is_the_same_run(installation: Installation) -> None:
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [{"content": "Once."}])
        key = str(uuid4())
        first, second = [await api.runs.start(agent, "hello", idempotency_key=key) for _ in range(2)]
        assert first.id == second.id
        assert (await api.runs.wait(first.id, timeout=30)).output == "Once."
        assert len(await model.requests(agent)) == 1


async def test_a_long_poll_ends_with_the_run(installation: Installation) -> None:
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [LONG])
        run = await api.runs.start(agent, "hello")
        waiting = asyncio.create_task(api.runs.get(run.id, wait=30))
        await model.requests(agent, state="held", wait=20)
        assert not waiting.done()
        await model.release(agent)
        assert (await waiting).status == "completed"


async def test_a_cancel_ends_a_call_in_progress(installation: Installation) -> None:
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [LONG])
        run = await api.runs.start(agent, "hello")
        await model.requests(agent, state="held", wait=20)
        await api.runs.cancel(run.id, reason="enough")
        assert (await api.runs.wait(run.id, timeout=20)).status == "cancelled"
        [request] = await model.requests(agent, state="aborted", wait=10)
        assert request["chunks_sent"] == 2


async def test_pause_and_resume(installation: Installation) -> None:
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [LONG])
        run = await api.runs.start(agent, "hello")
        await model.requests(agent, state="held", wait=20)
        await api.runs.pause(run.id)
        await model.release(agent)  # a call in progress is paid for, so it may end
        for _ in range(100):
            if (await api.runs.get(run.id)).status == "paused":
                break
            await asyncio.sleep(0.2)
        else:
            raise AssertionError("it was not paused")
        await api.runs.resume(run.id)
        assert (await api.runs.wait(run.id, timeout=30)).status == "completed"
        assert len(await model.requests(agent)) == 1


async def test_a_file_of_several_parts_comes_back(installation: Installation) -> None:
    content = os.urandom(12 * 2**20 + 5)
    async with installation.client() as api:
        stored = await api.artifacts.upload(content, name="big.bin")
        assert await api.artifacts.read(stored.id) == content
    headers = {"Authorization": f"Bearer {installation.world.operator()}", "Range": "bytes=1000000-1000009"}
    async with httpx.AsyncClient(trust_env=False) as http:
        part = await http.get(f"{installation.world.api_url}/v1/artifacts/{stored.id}/content", headers=headers)
    assert part.status_code == 206
    assert part.content == content[1_000_000:1_000_010]


async def test_another_tenant_sees_nothing(installation: Installation) -> None:
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [{"content": "Mine."}])
        run = await api.runs.run(agent, "hello", timeout=30)
        other = await asyncio.to_thread(installation.signed_in("globex-operator"))
        async with AsyncClient(installation.world.api_url, other) as stranger:
            for attempt in (stranger.runs.get(run.id), stranger.runs.cancel(run.id), stranger.agents.get(agent)):
                with pytest.raises(ApiProblem) as refused:
                    await attempt
                assert refused.value.status == 404


async def test_a_user_sees_the_own_runs(installation: Installation) -> None:
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [{"content": "Mine."}])
        of_operator = await api.runs.start(agent, "hello")
        token = await asyncio.to_thread(installation.signed_in("acme-user"))
        async with AsyncClient(installation.world.api_url, token) as user:
            own = await user.runs.run(agent, "hello", timeout=30)
            assert [run.id async for run in user.runs.list()] == [own.id]
            with pytest.raises(ApiProblem):
                await user.runs.get(of_operator.id)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/runs", 401), ("/v1/version", 200), ("/metrics", 404), ("/healthz", 404), ("/readyz", 404), ("/admin/", 404),
     ("/realms/master/", 404), ("/openapi.json", 404), ("/realms/agent-runtime/.well-known/openid-configuration", 200)],
)  # fmt: skip
async def test_what_is_reachable_from_outside(installation: Installation, path: str, status: int) -> None:
    forged = {"X-Tenant-Id": "acme", "X-User-Roles": "admin"}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{installation.world.api_url}{path}", headers=forged)
    assert answer.status_code == status
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
    if path.endswith("configuration"):
        assert answer.json()["issuer"] == f"{installation.world.api_url}/realms/agent-runtime"
