"""The same work by the command line, by the SDK and by plain HTTP; and two tenants that do not see each other."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from agent_runtime import Client, Event, NotFound

from tests.fixtures.platform import NO_TLS, PROVIDER, TENANT, Platform, call

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("platform")]

AGENT_RUNTIME = Path(sys.executable).with_name("agent-runtime")
REPORT = "# Report\n\nAll is well, \N{SNOWMAN}.\n"
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


@pytest.fixture(scope="module", autouse=True)
def _workers(platform: Platform) -> Iterator[None]:
    with platform.workers(2):
        yield


@pytest.fixture
def slug(platform: Platform) -> str:
    """The name of an agent, whose script is there."""
    name = f"clerk-{uuid4().hex[:8]}"
    turns = [
        {"content": "I look.", "delay_ms": 5, "tool_calls": [call("look", item=name)]},
        {"content": "I order.", "tool_calls": [call("order", item=name)]},
        {"content": "I write.", "tool_calls": [call("write_artifact", name="report.md", content=REPORT)]},
        {"content": '{"ok": true}', "delay_ms": 5},
    ]
    script = {"model": name, "turns": turns}
    httpx.post(f"{platform.model_url}/control/scripts", json=script, verify=NO_TLS).raise_for_status()
    return name


def spec(platform: Platform, slug: str) -> dict[str, Any]:
    tools = [platform.tool("look", "read"), platform.tool("order", "write"), {"type": "artifacts"}]
    return {"model": f"{PROVIDER}/{slug}", "instructions": "Be short.", "tools": tools, "output_schema": SCHEMA}


def check_events(events: list[dict[str, Any]]) -> None:
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["run.queued", "run.started"]
    assert kinds[-1] == "run.completed"
    assert kinds.count("model.completed") == 4
    assert kinds.count("tool.completed") == 3
    assert kinds.count("artifact.created") == 1


def agent_runtime(platform: Platform, *arguments: str, tenant: str = TENANT, code: int = 0) -> str:
    """Run the command as a program would; what it printed."""
    environment = {
        **os.environ,
        "AGENT_RUNTIME_API_URL": platform.api_url,
        "AGENT_RUNTIME_TOKEN": platform.token(tenant=tenant),
    }
    done = subprocess.run(
        [AGENT_RUNTIME, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_by_the_command_line(platform: Platform, slug: str, tmp_path: Path) -> None:
    """An agent from a file, a run that is followed, its file: each command's JSON is the API's."""
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump({"slug": slug, "description": "Keeps the books.", "spec": spec(platform, slug)}))
    made = json.loads(agent_runtime(platform, "agents", "create", "-f", str(file), "--json"))
    assert (made["slug"], made["promoted_version"]) == (slug, 1)
    told = agent_runtime(
        platform, "runs", "start", slug, "--input", "How is it?", "--label", "a=b", "--follow", "--json"
    )
    run, *lines = map(json.loads, told.splitlines())
    check_events([line for line in lines if "seq" in line])
    shown = json.loads(agent_runtime(platform, "runs", "show", run["id"], "--json"))
    assert (shown["status"], shown["output"], shown["labels"]) == ("completed", {"ok": True}, {"a": "b"})
    [listed] = json.loads(agent_runtime(platform, "artifacts", "list", run["id"], "--json"))["items"]
    target = tmp_path / "report.md"
    agent_runtime(platform, "artifacts", "get", listed["id"], "--output", str(target))
    assert target.read_text() == REPORT
    assert platform.tools.count(f"/order/{slug}") == 1
    refusal = json.loads(agent_runtime(platform, "runs", "start", "nobody", "--input", "x", "--json", code=3))
    assert refusal["code"] == "not_found"


def test_by_the_sdk(platform: Platform, slug: str) -> None:
    """The blocking client: create, start, follow, fetch; the text of the deltas is the text of the answers."""
    with Client(platform.api_url, platform.token()) as api:
        api.agents.create(slug, spec(platform, slug))
        run = api.runs.start(slug, {"question": "How is it?"})
        items = list(api.runs.follow(run.id))
        check_events([item.as_json() for item in items if isinstance(item, Event)])
        ended = api.runs.wait(run.id)
        assert ended.succeeded
        assert ended.output == {"ok": True}
        assert ended.input == {"question": "How is it?"}
        [file] = api.runs.artifacts(run.id)
        assert b"".join(api.artifacts.stream(file.id)) == REPORT.encode()


def test_by_plain_http(platform: Platform, slug: str) -> None:
    """POST, long poll, SSE and a range of the file, with nothing but an HTTP client."""
    headers = {"Authorization": f"Bearer {platform.token()}"}
    with httpx.Client(base_url=platform.api_url, headers=headers, verify=NO_TLS, timeout=40) as http:
        assert http.post("/v1/agents", json={"slug": slug, "spec": spec(platform, slug)}).status_code == 201
        key = {"Idempotency-Key": uuid4().hex}
        body = {"agent": slug, "input": "How is it?"}
        accepted = http.post("/v1/runs", json=body, headers=key)
        again = http.post("/v1/runs", json=body, headers=key)
        assert (accepted.status_code, again.status_code) == (202, 202)
        assert again.json()["id"] == accepted.json()["id"]
        assert again.headers["Idempotency-Replayed"] == "true"
        path = accepted.headers["Location"]
        with http.stream("GET", f"{path}/events", headers={"Accept": "text/event-stream"}) as stream:
            lines = list(stream.iter_lines())
        sent = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        check_events([each for each in sent if "seq" in each])
        assert any("text" in each for each in sent)
        run = http.get(path, params={"wait": 5}).json()
        assert (run["status"], run["output"]) == ("completed", {"ok": True})
        [file] = http.get(f"{path}/artifacts").json()["items"]
        part = http.get(f"/v1/artifacts/{file['id']}/content", headers={"Range": "bytes=2-7"})
        assert (part.status_code, part.content) == (206, REPORT.encode()[2:8])
        assert file["sha256"] == hashlib.sha256(REPORT.encode()).hexdigest()
    assert platform.tools.count(f"/order/{slug}") == 1


def test_two_tenants_do_not_see_each_other(platform: Platform, slug: str) -> None:
    """Rule 18, architecture 5: agents, runs, events and files of another tenant are not there."""
    other = f"other-{uuid4().hex[:8]}"
    platform.make_tenant(other)
    with (
        Client(platform.api_url, platform.token()) as mine,
        Client(platform.api_url, platform.token(tenant=other)) as theirs,
    ):
        mine.agents.create(slug, spec(platform, slug))
        run = mine.runs.run(slug, "How is it?", timeout=30)
        [file] = mine.runs.artifacts(run.id)
        assert list(theirs.agents.list()) == []
        assert list(theirs.runs.list()) == []
        for look in (
            lambda: theirs.agents.get(slug),
            lambda: theirs.runs.get(run.id),
            lambda: list(theirs.runs.events(run.id)),
            lambda: list(theirs.runs.follow(run.id)),
            lambda: theirs.runs.cancel(run.id),
            lambda: list(theirs.runs.artifacts(run.id)),
            lambda: theirs.artifacts.get(file.id),
            lambda: list(theirs.artifacts.stream(file.id)),
            lambda: theirs.runs.start(slug, "mine?"),
        ):
            with pytest.raises(NotFound):
                look()
        theirs.agents.create(slug, spec(platform, slug))  # the same name is free there
        assert theirs.runs.run(slug, "How is it?", timeout=30).succeeded
        assert len(list(mine.runs.list(agent=slug))) == 1
