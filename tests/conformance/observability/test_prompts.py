"""Versions whose instructions are prompts of LangFuse: the real SDK against a stand-in of LangFuse's public API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.demo import serving
from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.langfuse import KEYS, Fault, StandIn
from tests.fixtures.platform import NO_TLS

pytestmark = [pytest.mark.timeout(120)]
MODEL = "scripted/x"


@pytest.fixture(scope="module")
def langfuse() -> Iterator[tuple[StandIn, str]]:
    standing = StandIn()
    with serving.serving(standing.app, 0) as url:
        yield standing, url


@pytest.fixture(scope="module")
def api(platform: EmbeddedPlatform, langfuse: tuple[StandIn, str]) -> Iterator[httpx.Client]:
    """An API process that knows LangFuse, as an operator."""
    name = f"api-prompts-{uuid4().hex[:6]}"
    url = platform.stack.add_api(name, environment={"LANGFUSE_HOST": langfuse[1], **KEYS})
    headers = {"Authorization": f"Bearer {platform.token()}"}
    with httpx.Client(base_url=url, headers=headers, verify=NO_TLS, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def standing(langfuse: tuple[StandIn, str]) -> Iterator[StandIn]:
    yield langfuse[0]
    langfuse[0].fault = None


def slug() -> str:
    return f"a-{uuid4().hex[:8]}"


def spec(name: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "instructions": {"prompt": name, **more}}


def test_a_prompt_is_pinned_when_the_version_is_made(api: httpx.Client, standing: StandIn) -> None:
    name, agent = f"team/{uuid4().hex[:6]}", slug()
    standing.add(name, "Be kind.", "production")
    assert api.post("/v1/agents", json={"slug": agent, "spec": spec(name, label="production")}).status_code == 201
    kept = api.get(f"/v1/agents/{agent}/versions/1").json()
    assert kept["spec"] == {"model": MODEL, "instructions": "Be kind.", "prompt": {"name": name, "version": 1}}
    standing.add(name, "Be brief.", "production")
    assert api.get(f"/v1/agents/{agent}/versions/1").json() == kept
    versions = f"/v1/agents/{agent}/versions"
    made = api.post(versions, json={"spec": spec(name)})
    assert (made.status_code, made.json()["number"]) == (201, 2)
    again = api.post(versions, json={"spec": spec(name, version=2)})
    assert (again.status_code, again.json()["number"]) == (200, 2)
    copied = api.post(versions, json={"spec": kept["spec"]})
    assert (copied.status_code, copied.json()["number"]) == (200, 1)
    entries = api.get("/v1/audit").json()["items"]
    noted = next(each for each in entries if each["target"] == f"agent/{agent}/version/2")
    assert noted["after"]["prompt"] == {"name": name, "version": 2, "label": None}


def test_a_repeated_request_does_not_depend_on_langfuse(api: httpx.Client, standing: StandIn) -> None:
    name, agent = f"p-{uuid4().hex[:6]}", slug()
    standing.add(name, "Be kind.", "production")
    body, headers = {"slug": agent, "spec": spec(name)}, {"Idempotency-Key": uuid4().hex}
    first = api.post("/v1/agents", json=body, headers=headers)
    standing.fault = Fault(503)
    again = api.post("/v1/agents", json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("fault", [Fault(503), Fault(hang=20)])
def test_langfuse_down_is_a_clear_answer_that_keeps_nothing(api: httpx.Client, standing: StandIn, fault: Fault) -> None:
    name, agent = f"p-{uuid4().hex[:6]}", slug()
    standing.add(name, "Be kind.", "production")
    standing.fault = fault
    began, headers = time.monotonic(), {"Idempotency-Key": uuid4().hex}
    answer = api.post("/v1/agents", json={"slug": agent, "spec": spec(name)}, headers=headers)
    assert time.monotonic() - began < 15
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
    assert answer.headers["retry-after"]
    assert "LangFuse" in answer.json()["detail"]
    standing.fault = None
    assert api.post("/v1/agents", json={"slug": agent, "spec": spec(name)}, headers=headers).status_code == 201


@pytest.mark.parametrize("more", [{}, {"label": "staging"}, {"version": 7}])
def test_a_prompt_that_is_not_there_is_named(api: httpx.Client, standing: StandIn, more: dict[str, Any]) -> None:
    answer = api.post("/v1/agents", json={"slug": slug(), "spec": spec("nobody-wrote-it", **more)})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/spec/instructions"
    assert "There is no prompt nobody-wrote-it" in problem["errors"][0]["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"instructions": {"prompt": "p", "label": "production", "version": 1}},
        {"instructions": {"prompt": "", "label": "production"}},
        {"instructions": {"label": "production"}},
        {"instructions": {"prompt": "p"}, "prompt": {"name": "p", "version": 1}},
        {"instructions": "text", "prompt": {"name": "p"}},
    ],
)
def test_a_reference_names_one_text(api: httpx.Client, wrong: dict[str, Any]) -> None:
    answer = api.post("/v1/agents", json={"slug": slug(), "spec": {"model": MODEL, **wrong}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_without_langfuse_a_prompt_is_refused(platform: EmbeddedPlatform) -> None:
    headers = {"Authorization": f"Bearer {platform.token()}"}
    url = f"{platform.api_url}/v1/agents"
    answer = httpx.post(url, json={"slug": slug(), "spec": spec("p")}, headers=headers, verify=NO_TLS, trust_env=False)
    assert answer.status_code == 422
    assert "not connected to LangFuse" in answer.json()["errors"][0]["detail"]


async def test_runs_go_on_while_langfuse_is_down(
    platform: EmbeddedPlatform, api: httpx.Client, standing: StandIn
) -> None:
    """The worker never asks LangFuse for a prompt: what was pinned is what the model is told."""
    name = f"p-{uuid4().hex[:6]}"
    standing.add(name, "Answer in one word.", "production")
    async with platform.client() as client, platform.model() as model:
        agent = await platform.agent(client, model, [{"content": "Yes."}])
        held = (await asyncio.to_thread(api.get, f"/v1/agents/{agent}/versions/1")).json()["spec"]
        body = {"spec": held | {"instructions": {"prompt": name}}, "promote": True}
        made = await asyncio.to_thread(api.post, f"/v1/agents/{agent}/versions", json=body)
        assert made.status_code == 201
        standing.fault = Fault(503)
        with platform.workers(1):
            run = await client.runs.run(agent, "Well?", timeout=30)
        assert run.succeeded
        [request] = await model.requests(agent)
        sent = json.loads((await model.request(request["id"]))["body"])
    assert sent["messages"][0] == {"role": "system", "content": "Answer in one word."}
