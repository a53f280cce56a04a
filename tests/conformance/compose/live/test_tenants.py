"""Accounts made by the platform in the real Keycloak, and attacks on the walls between two tenants."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from agent_runtime import AsyncClient

from tests.fixtures.compose.project import TENANTS, Installation
from tests.fixtures.compose.rendering import ROOT

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


async def test_a_service_account_runs_an_agent(installation: Installation) -> None:
    """Registered in Keycloak with the few rights of the provisioner, bound here; its token comes by the gateway."""
    name = f"ci-{uuid4().hex[:6]}"
    url = installation.world.api_url
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [{"content": "By a machine."}])
        account = await api.service_accounts.create(name, role="operator")
        own = {"client_id": account.client_id or "", "client_secret": account.client_secret or ""}
        assert account.token_url == f"{url}/realms/agent-runtime/protocol/openid-connect/token"
        async with httpx.AsyncClient(trust_env=False) as http:
            granted = await http.post(account.token_url, data={"grant_type": "client_credentials", **own})
        assert granted.status_code == 200, granted.text
        async with AsyncClient(url, granted.json()["access_token"]) as machine:
            run = await machine.runs.run(agent, "hello", timeout=60)
        assert run.output == "By a machine."
        await api.service_accounts.delete(name)


async def test_an_invited_user_is_there(installation: Installation) -> None:
    email = f"u-{uuid4().hex[:6]}@acme.example"
    async with installation.client() as api:
        await api.users.invite(email, role="user")
        assert email in [user.email async for user in api.users.list()]


async def test_a_budget_is_kept(installation: Installation) -> None:
    async with installation.client() as api, installation.model() as model:
        agent = await installation.agent(api, model, [{"content": "Too dear. " * 50}], limits={"tokens": 20})
        run = await api.runs.start(agent, "hello")
        ended = await api.runs.wait(run.id, timeout=60)
        assert ended.error is not None
        assert ended.error.code == "budget_exceeded"
        assert await model.requests(agent) == []


async def test_no_wall_leaks(installation: Installation, tmp_path: Path) -> None:
    # One way: on a slow machine, what the first way has deleted would be gone before the second is through.
    files = [tmp_path / name for name in ("a", "b")]
    for file, tenant in zip(files, TENANTS, strict=True):
        file.write_text(await asyncio.to_thread(installation.signed_in(f"{tenant}-operator")))
    command = [
        sys.executable, "-m", "services.cli.main", "--api-url", installation.world.api_url, "isolation-check",
        "--one-way", "--token-a-file", str(files[0]), "--token-b-file", str(files[1]),
        "--openapi", str(ROOT / "docs/openapi.json"),
    ]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
