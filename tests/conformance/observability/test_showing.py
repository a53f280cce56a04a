"""Whose project a trace goes to, what of content it shows, how much of it, and the command for what was refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml

from tests.conformance.observability.comparing import span_id
from tests.conformance.observability.receiver import Fault, ReceiverOfTraces, Seen
from tests.conformance.observability.test_traces import complete, langfuse
from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.platform import call, eventually

pytestmark = [pytest.mark.timeout(150)]
SECRET = "the patient's name is Ada"


async def a_run(platform: EmbeddedPlatform, tenant: str, *, text: str = SECRET) -> str:
    """A run in which the text is everywhere: instructions, input, answers, arguments."""
    item = f"patient-{uuid4().hex[:8]}"
    async with platform.client(tenant) as api, platform.model() as model:
        fault = {"kind": "status", "status": 500, "times": 1, "message": text}
        turns: list[dict[str, Any]] = [
            {"content": text, "tool_calls": [call("look", item=item)], "fault": fault},
            {"content": f"{text}!"},
        ]
        tools = [platform.tool("look", "read")]
        agent = await platform.agent(api, model, turns, tools=tools, instructions=text[:50_000])
        run = await api.runs.start(agent, text)
        assert (await api.runs.wait(run.id, timeout=30)).status == "completed"
        return run.id


def last(receiver: ReceiverOfTraces, run: str) -> dict[str, Seen]:
    return {id_: copies[-1] for id_, copies in receiver.trace(run).items()}


async def test_each_tenant_has_its_project_and_its_redaction(
    platform: EmbeddedPlatform, receiving: tuple[ReceiverOfTraces, str], tmp_path: Path
) -> None:
    receiver, url = receiving
    slugs = [f"{name}-{uuid4().hex[:6]}" for name in ("plain", "own", "hashed", "silent", "nowhere")]
    for slug in slugs:
        platform.make_tenant(slug)
    plain, own, hashed, silent, nowhere = slugs
    said = {
        "projects": {"theirs": {"url": url, "public_key_env": "THEIR_PUBLIC", "secret_key_env": "THEIR_SECRET"}},
        "tenants": {
            own: {"project": "theirs"},
            hashed: {"redact": "hashes"},
            silent: {"redact": "all", "project": "theirs"},
            nowhere: {"project": "none"},
        },
    }
    file = tmp_path / "projects.yaml"
    file.write_text(yaml.safe_dump(said))
    secret = tmp_path / "secret"
    secret.write_text("sk-lf-theirs\n")
    theirs = {"THEIR_PUBLIC": "pk-lf-theirs", "THEIR_SECRET_FILE": str(secret)}
    with platform.workers(1, **langfuse(url), TRACES_PROJECTS_FILE=str(file), **theirs):
        runs = {slug: await a_run(platform, slug) for slug in slugs}
        for slug in (plain, own, hashed, silent):
            await complete(receiver, runs[slug])
        await asyncio.sleep(1)
    projects = {slug: {span.project for span in last(receiver, runs[slug]).values()} for slug in slugs}
    assert projects[plain] == projects[hashed] != projects[own] == projects[silent]
    assert all(len(projects[slug]) == 1 for slug in (plain, own, hashed, silent))
    assert projects[nowhere] == set()
    shown = {slug: b"".join(span.raw for span in last(receiver, runs[slug]).values()) for slug in slugs}
    assert SECRET.encode() in shown[plain]
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    for slug in (hashed, silent):
        assert b"patient" not in shown[slug]
    assert digest.encode() in shown[hashed]
    assert digest.encode() not in shown[silent]
    costs = "langfuse.observation.cost_details"
    assert all(costs in span.attributes for s in (hashed, silent) for span in last(receiver, runs[s]).values()
               if span.kind == "generation")  # fmt: skip


async def test_large_values_are_cut_with_a_mark_and_requests_stay_small(
    platform: EmbeddedPlatform, receiving: tuple[ReceiverOfTraces, str]
) -> None:
    """The text is an object in the store; of it, only the beginning is shown."""
    receiver, url = receiving
    text = "".join(f"{number:07d} ü" for number in range(20_000))  # 200,000 bytes
    with platform.workers(1, **langfuse(url), TRACES_ATTRIBUTE_BYTES="20000", TRACES_REQUEST_BYTES="60000"):
        run = await a_run(platform, "chaos", text=text)
        await complete(receiver, run)
    spans = last(receiver, run)
    root = spans[span_id(run, "run")]
    given = root.attributes["langfuse.observation.input"]
    assert given.startswith(text[:10_000])
    assert given.endswith(f" … [cut: {len(text.encode()) + 2} bytes in all]")  # it is kept as JSON
    for span in spans.values():
        assert all(len(value.encode()) <= 20_000 for value in span.attributes.values() if isinstance(value, str))
        if span.kind == "generation":
            asked = json.loads(span.attributes["langfuse.observation.input"])
            assert [message["role"] for message in asked][:2] == ["system", "user"]
    assert receiver.largest < 110_000
    assert len(receiver.requests) > 2


async def test_what_was_refused_is_listed_and_sent_again_by_command(
    platform: EmbeddedPlatform, receiving: tuple[ReceiverOfTraces, str]
) -> None:
    receiver, url = receiving
    tenant = f"refused-{uuid4().hex[:6]}"
    platform.make_tenant(tenant)
    receiver.fault = lambda spans: Fault(status=401)

    async def traces(*arguments: str) -> Any:
        command = [sys.executable, "-m", "services.cli.main", "traces", *arguments, "--json"]
        environment = {"AGENT_RUNTIME_API_URL": platform.api_url, "AGENT_RUNTIME_TOKEN": platform.token(tenant=tenant)}
        program = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await program.communicate()
        assert program.returncode == 0
        return json.loads(out)

    async def refused() -> Any:
        return (await traces("refused"))["items"] or None

    async def none_refused() -> bool | None:
        return not (await traces("refused"))["items"] or None

    with platform.workers(1, **langfuse(url)):
        run = await a_run(platform, tenant)
        items = await eventually(refused)
        assert {(item["run_id"], item["status"], item["project"]) for item in items} == {(run, 401, "langfuse")}
        assert all("keys" in item["reason"] and "patient" not in item["reason"] for item in items)
        await eventually(lambda: _all_refused(platform, tenant, run))
        receiver.fault = lambda spans: None
        assert (await traces("retry", run))["items"] >= 1
        await eventually(none_refused)
    assert receiver.complete(run)
    assert len(last(receiver, run)) == 5


async def _all_refused(platform: EmbeddedPlatform, tenant: str, run: str) -> bool | None:
    async with platform.records(tenant) as records:
        rows = await records.rows("SELECT finished FROM projections WHERE run_id = $1", UUID(run))
    return bool(rows and rows[0]["finished"]) or None
