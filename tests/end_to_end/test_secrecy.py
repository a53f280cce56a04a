"""Prompts, outputs and keys stay where they belong: not in a log line, not in Temporal's histories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes import Plan
from tests.fixtures.platform import MODEL_KEY, Platform, call

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("platform")]


async def test_no_content_and_no_key_leaves_its_place(platform: Platform) -> None:
    """Issue 3, Models: markers in prompts, outputs, arguments, results, errors and keys are found nowhere else."""
    marker = f"marker{uuid4().hex}"
    tenant = f"secret-{uuid4().hex[:8]}"
    platform.make_tenant(tenant)
    platform.tools.plans["/look/secret"] = Plan(body=json.dumps({"result": marker}))
    platform.tools.plans["/order/broken"] = Plan(status=502, body=marker)
    fault: dict[str, Any] = {"kind": "status", "message": f"your key {MODEL_KEY} and prompt {marker}"}
    scripts: list[list[dict[str, Any]]] = [
        [{"content": marker, "tool_calls": [call("look", item="secret", why=marker)]}, {"content": f"{marker} done"}],
        [{"tool_calls": [call("order", item="broken", why=marker)]}, {"content": marker}],
        [{"content": marker, "fault": {**fault, "status": 401}}],
        [{"content": marker, "fault": {**fault, "status": 500, "times": 1}}],
        [{"content": marker, "fault": {"kind": "malformed_arguments"}, "tool_calls": [call("look", item=marker)]}] * 3,
        [{"content": f"{marker} is no JSON"}] * 3,
    ]
    why = {
        "type": "object",
        "properties": {"item": {"type": "string"}, "why": {"type": "string"}},
        "required": ["item"],
    }
    more: dict[str, Any] = {"parameters": why, "headers": {"X-Secret": marker}}
    tools = [platform.tool("look", "read", **more), platform.tool("order", "write", **more)]
    with platform.workers(1, LOG_LEVEL="DEBUG", MODEL_ATTEMPTS="2"):
        async with platform.client(tenant) as api, platform.model() as model:
            for turns in scripts:
                schema: dict[str, Any] = (
                    {"output_schema": {"type": "object"}} if "no JSON" in turns[0].get("content", "") else {}
                )
                agent = await platform.agent(api, model, turns, tools=tools, instructions=marker, **schema)
                await api.runs.run(agent, {"prompt": marker}, timeout=40)
            requests = await model.requests()
    assert all(request["api_key"] for request in requests)
    hidden = [marker, MODEL_KEY, platform.token()[:60], *secrets_of(platform)]
    logs = list(platform.logs())
    assert any(b'"ready"' in content for _, content in logs)
    for name, content in (*logs, *platform.temporal_files()):
        check_hides(name, content, hidden)
    assert await check_histories(platform, tenant, hidden) == len(scripts)


def secrets_of(platform: Platform) -> list[str]:
    """The passwords and keys of the servers."""
    environment = platform.environment()
    named = [value for name, value in environment.items() if "PASSWORD" in name or "SECRET_" in name]
    return [*named, environment.get("SECRETS_KEYS") or Path(environment["SECRETS_KEYS_FILE"]).read_text()]


def check_hides(name: str, content: bytes, hidden: list[str]) -> None:
    for secret in hidden:
        place = content.find(secret.encode())
        assert place < 0, f"{name}: …{content[max(0, place - 300) : place + 100]!r}…"


async def check_histories(platform: Platform, tenant: str, hidden: list[str]) -> int:
    """How many histories of the tenant were looked at."""
    client = await platform.temporal()
    count = 0
    async for execution in client.list_workflows(f"TenantId = '{platform.tenants[tenant]}'"):
        history = await client.get_workflow_handle(execution.id).fetch_history()
        # As JSON, payloads would be in base64.
        check_hides(execution.id, b"".join(event.SerializeToString() for event in history.events), hidden)
        count += 1
    return count


def test_the_marker_would_be_found() -> None:
    """The check itself fails for a file that holds a secret."""
    with pytest.raises(AssertionError, match="leaky"):
        check_hides("leaky", b"a log line with the secret in it", ["the secret"])
