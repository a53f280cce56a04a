"""Erasure and audit as a user meets them: real workers erase, seal and finish, also a tenant whose runs are working."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from agent_runtime import Client, Conflict

from tests.end_to_end.test_clients import agent_runtime, spec
from tests.fixtures.platform import NO_TLS, TENANT, Platform, call

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("platform")]


@pytest.fixture(scope="module", autouse=True)
def _workers(platform: Platform) -> Iterator[None]:
    with platform.workers(2):
        yield


@pytest.fixture
def slug(platform: Platform) -> str:
    name = f"eraser-{uuid4().hex[:8]}"
    turns = [
        {"content": "I write.", "tool_calls": [call("write_artifact", name="report.md", content="Report")]},
        {"content": '{"ok": true}', "delay_ms": 5},
    ]
    httpx.post(f"{platform.model_url}/control/scripts", json={"model": name, "turns": turns}, verify=NO_TLS)
    return name


def test_a_run_is_gone_and_the_log_says_so(platform: Platform, slug: str) -> None:
    with Client(platform.api_url, platform.token(tenant=TENANT)) as client:
        client.agents.create(slug, spec(platform, slug))
        run = client.runs.run(slug, "Go.", timeout=60)
        assert run.status == "completed", run.error
        asked = json.loads(agent_runtime(platform, "runs", "delete", run.id, "--yes", "--json"))
        done = client.erasures.wait(asked["id"], timeout=90)
        assert done.done, done.as_json()
        assert done.removed["database.runs"] == 1
        assert done.removed["temporal.workflows"] >= 1  # Temporal lists for a while what it is deleting
        assert done.removed.get("objects", 0) >= 1, done.as_json()
        agent_runtime(platform, "runs", "show", run.id, code=3)
        assert "Every sealed entry" in agent_runtime(platform, "audit", "verify")
        acts = [entry.action for entry in client.audit.list(page_size=200)]
        assert {"delete_run", "erase_run", "create_agent"} <= set(acts)


def test_a_tenant_goes_while_it_works(platform: Platform) -> None:
    slug = f"leaving-{uuid4().hex[:8]}"
    turns = [{"content": "Later.", "delay_ms": 30_000}]
    httpx.post(f"{platform.model_url}/control/scripts", json={"model": slug, "turns": turns}, verify=NO_TLS)
    with Client(platform.api_url, platform.token(role="admin", tenant="")) as admin:
        made = admin.tenants.create(slug)
        with Client(platform.api_url, platform.token(tenant=slug)) as client:
            client.agents.create(slug, spec(platform, slug))
            runs = [client.runs.start(slug, "Go.") for _ in range(3)]
            client.runs.pause(runs[0].id)
        admin.tenants.delete(slug)
        [erasure] = [each for each in admin.erasures.list() if each.tenant == slug]
        done = admin.erasures.wait(erasure.id, timeout=120)
        assert done.done, done.as_json()
        assert done.removed["database.runs"] == 3
        assert slug not in [tenant.slug for tenant in admin.tenants.list()]
        # Tokens that name it may outlive it at the issuer: they must not come to name another tenant.
        with pytest.raises(Conflict, match="neither is used again"):
            admin.tenants.create(slug)
        with pytest.raises(Conflict, match="neither is used again"):
            admin.tenants.create(f"{slug}-2", id=made.id)
