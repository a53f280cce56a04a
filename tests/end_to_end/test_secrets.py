"""Secrets of tenants in use: they reach the server they are for, and whatever it echoes, they are written nowhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from agent_runtime import AsyncClient

from deploy.demo.model_control import ModelControl
from tests.end_to_end.written import check_hides, everything
from tests.fakes import Plan
from tests.fixtures.platform import Platform, call

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("platform")]


def forms(value: str) -> list[str]:
    """As servers write a value: the forms of docs/secrets.md."""
    raw = value.encode()
    return [
        value,
        value.lower(),
        quote(value, safe=""),
        json.dumps(value)[1:-1],
        html.escape(value),
        raw.hex(),
        *(base64.b64encode(before + raw + b"xyz").decode() for before in (b"", b"u:", b"me:")),
        base64.urlsafe_b64encode(raw).decode(),
    ]


def hidden(value: str) -> list[str]:
    """What is looked for: of base64 only what the value alone decides."""
    raw, cores = value.encode(), []
    for shift, skipped in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        cores.append(encoded[skipped : (shift + len(raw)) * 8 // 6])
    return [value, value.lower(), quote(value, safe=""), json.dumps(value)[1:-1], html.escape(value), raw.hex(), *cores]


async def tenant_with(platform: Platform, **secrets: str) -> str:
    tenant = f"keep-{uuid4().hex[:8]}"
    platform.make_tenant(tenant)
    async with platform.client(tenant) as api:
        for name, value in secrets.items():
            await api.secrets.put(name, value)
    return tenant


async def test_an_echoed_secret_is_written_nowhere(platform: Platform) -> None:
    """A tool and a provider that send everything back: in bodies, headers, errors, streams and calls."""
    crm, key = f'crm-"{uuid4().hex}&/+x', f"sk-{uuid4().hex}/+Z"
    tenant = await tenant_with(platform, crm=crm, openai=key)
    echo = [each for value in (crm, key) for each in forms(value)]
    bearer: dict[str, Any] = {"headers": {"Authorization": {"secret": "crm", "prefix": "Bearer "}}}
    plans = platform.tools.plans
    plans["/look/echo"] = Plan(body=json.dumps({"headers": echo}))
    plans["/look/cut"] = Plan(body="x" * 190 + crm + "y" * 5000)
    plans["/look/away"] = Plan(status=302, headers=(("Location", f"{key.replace('/', '')}:x"),))
    plans["/order/moved"] = Plan(status=303, headers=(("Location", f"/done?key={quote(crm)}"),))
    plans["/order/broken"] = Plan(status=502, body=crm)
    plans["/order/refused"] = Plan(status=403, body=json.dumps({"detail": f"{crm} is wrong"}))
    says = " ".join(echo)
    asks = [call("look", item=item) for item in ("echo", "cut", "away")]
    orders = [call("order", item=item) for item in ("moved", "broken", "refused")]
    files = [call("write_artifact", name="keys.txt", content=says), call(f"no-{key}", why=crm)]
    fault: dict[str, Any] = {"kind": "status", "message": f"your key {key} and {crm}", "code": key}
    tools = [platform.tool("look", "read", max_response_bytes=210, **bearer), {"type": "artifacts"}]
    tools.append(platform.tool("order", "write", **bearer))
    wide = platform.tool("look", "read", **bearer)
    scripts: list[tuple[list[dict[str, Any]], list[dict[str, Any]], str]] = [
        ([{"tool_calls": asks[1:]}, {"content": says, "chunks": tuple(says)}], tools, "completed"),
        ([{"tool_calls": asks[:1]}, {"content": says, "chunks": 50}], [wide], "completed"),
        ([{"tool_calls": orders}, {"content": "done", "finish_reason": key}], tools, "completed"),
        ([{"content": says, "tool_calls": files}, {"content": crm}], tools, "completed"),
        ([{"content": says, "fault": {**fault, "status": 401}}], tools, "failed"),
        ([{"content": says, "fault": {**fault, "status": 500, "times": 1}}], tools, "completed"),
        ([{"content": says[:300], "fault": {"kind": "cut_stream", "after_chunks": 3, "times": 1}}], tools, "completed"),
    ]
    runs = []
    with platform.workers(1, LOG_LEVEL="DEBUG", MODEL_ATTEMPTS="5"):
        async with platform.client(tenant) as api, platform.model() as model:
            for turns, own, ends in scripts:
                agent = await platform.agent(api, model, turns, tools=own, provider_key={"secret": "openai"})
                run = await api.runs.run(agent, "go", timeout=40)
                assert run.status == ends, run.error
                [first, *_] = await model.requests(agent)
                assert first["api_key_sha256"] == hashlib.sha256(key.encode()).hexdigest()
                runs.append(run)
            told = runs[4].error
            assert told
            assert "the secret openai" in told.message
            looked = [event async for event in api.runs.events(runs[1].id) if event.type == "tool.completed"]
    sent = [each.authorization for each in platform.tools.received if each.path.startswith(("/look/echo", "/order/"))]
    assert f"Bearer {crm}" in sent
    assert looked[0].data["content"].count("[secret crm]") == looked[0].data["content"].count("[secret openai]") >= 10
    assert "[secret crm]" in str(runs[0].output)
    names = 0
    async for name, content in everything(platform, tenant):
        check_hides(name, content, [*hidden(crm), *hidden(key)])
        names += 1
    assert names > 100


async def test_a_secret_is_used_as_it_is_at_the_call(platform: Platform) -> None:
    tenant = await tenant_with(platform, crm="first-value", openai="sk-first-value")
    header: dict[str, Any] = {"headers": {"Authorization": {"secret": "crm"}}}
    path = f"turn-{uuid4().hex[:8]}"
    with platform.workers(1):
        async with platform.client(tenant) as api, platform.model() as model:
            turns: list[dict[str, Any]] = [{"tool_calls": [call("look", item="1")]}, {"content": "ok"}]
            tool = platform.tool("look", "read", path, **header)
            agent = await platform.agent(api, model, turns, tools=[tool], provider_key={"secret": "openai"})
            await api.runs.run(agent, "go", timeout=40)
            await api.secrets.put("crm", "second-value")
            await api.runs.run(agent, "go", timeout=40)
            await api.secrets.delete("crm")
            run = await api.runs.run(agent, "go", timeout=40)
            assert run.status == "completed"
            told = await results(api, run.id)
            await api.secrets.delete("openai")
            failed = await api.runs.run(agent, "go", timeout=40)
            count = len(await model.requests(agent))
    received = [each.authorization for each in platform.tools.received if each.path.startswith(f"/{path}/")]
    assert received == ["first-value", "second-value"]
    assert "agent-runtime secrets set crm" in told[0]["content"]
    assert told[0]["is_error"]
    assert failed.error
    assert (failed.status, failed.error.code, count) == ("failed", "model_error", 6)
    assert "secret openai, but it does not exist" in failed.error.message


async def test_a_row_that_was_copied_is_not_used(platform: Platform) -> None:
    """To another name, or by whoever can write to the database."""
    tenant = await tenant_with(platform, crm="value-of-crm", other="value-of-other")
    async with platform.records(tenant) as records:
        await records.rows(
            "UPDATE secrets SET sealed = o.sealed FROM secrets o WHERE secrets.name = 'crm' AND o.name = 'other'"
        )
    with platform.workers(1):
        async with platform.client(tenant) as api, platform.model() as model:
            told = await asked(platform, api, model)
    assert "secret crm, but it cannot be decrypted: it does not decrypt with the key" in told["content"]


async def asked(platform: Platform, api: AsyncClient, model: ModelControl) -> dict[str, Any]:
    """The result of one call that needs the secret crm."""
    tool = platform.tool("look", "read", headers={"Authorization": {"secret": "crm"}})
    turns: list[dict[str, Any]] = [{"tool_calls": [call("look", item="1")]}, {"content": "ok"}]
    agent = await platform.agent(api, model, turns, tools=[tool])
    run = await api.runs.run(agent, "go", timeout=40)
    return (await results(api, run.id))[0]


async def results(api: AsyncClient, run_id: str) -> list[dict[str, Any]]:
    return [event.data async for event in api.runs.events(run_id) if event.type == "tool.completed"]
