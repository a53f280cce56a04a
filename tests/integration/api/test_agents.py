"""Agents and versions over HTTP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import Clients

SPEC: dict[str, Any] = {"model": "p/m", "instructions": "Help."}


def test_an_agent_begins_with_version_1_promoted(operator: httpx.Client) -> None:
    body = {"slug": "writer", "description": "writes", "spec": SPEC}
    made = operator.post("/v1/agents", json=body, headers={"Idempotency-Key": "a"})
    assert (made.status_code, made.headers["location"]) == (201, "/v1/agents/writer")
    assert made.json()["promoted_version"] == 1
    again = operator.post("/v1/agents", json=body, headers={"Idempotency-Key": "a"})
    assert (again.json(), again.headers["idempotency-replayed"]) == (made.json(), "true")
    assert operator.post("/v1/agents", json=body).json()["code"] == "conflict"
    assert operator.get("/v1/agents/writer").json() == made.json()
    changed = operator.patch("/v1/agents/writer", json={"description": "reads"}).json()
    assert changed["description"] == "reads"
    assert operator.patch("/v1/agents/writer", json={}).json() == changed
    assert operator.get("/v1/agents/nobody").status_code == 404


def test_versions_are_numbered_by_content(operator: httpx.Client, agent: str) -> None:
    spec = {"instructions": "Other.", "model": "p/m", "output_schema": {"type": "object", "b": 1, "a": [1.0, 2]}}
    made = operator.post(f"/v1/agents/{agent}/versions", json={"spec": spec})
    assert (made.status_code, made.json()["number"], made.json()["promoted"]) == (201, 2, False)
    assert made.headers["location"] == f"/v1/agents/{agent}/versions/2"
    assert list(made.json()["spec"]) == list(spec)
    same = operator.post(f"/v1/agents/{agent}/versions", json={"spec": dict(reversed(spec.items())), "promote": True})
    assert (same.status_code, same.json()["number"], same.json()["promoted"]) == (200, 2, True)
    assert json.dumps(operator.get(f"/v1/agents/{agent}/versions/2").json()["spec"]) == json.dumps(spec)
    back = operator.post(f"/v1/agents/{agent}/versions/1/promote")
    assert (back.status_code, back.json()["promoted_version"]) == (200, 1)
    listed = operator.get(f"/v1/agents/{agent}/versions").json()["items"]
    assert [(item["number"], item["promoted"]) for item in listed] == [(2, False), (1, True)]
    page = operator.get(f"/v1/agents/{agent}/versions", params={"limit": 1}).json()
    assert page["next_cursor"] == "2"
    for path in (f"{agent}/versions/3", "nobody/versions", "nobody/versions/1"):
        assert operator.get(f"/v1/agents/{path}").status_code == 404
    assert operator.post(f"/v1/agents/{agent}/versions/3/promote").status_code == 404


def test_versions_made_at_once_get_their_own_numbers(
    client: Clients, tenant: str, operator: httpx.Client, agent: str
) -> None:
    clients = [client("operator", tenant) for _ in range(6)]

    def make(number: int) -> int:
        spec = {**SPEC, "instructions": str(number)}
        found: int = clients[number].post(f"/v1/agents/{agent}/versions", json={"spec": spec}).json()["number"]
        return found

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(make, range(6))) == list(range(2, 8))


def test_an_archived_agent_stays_readable(operator: httpx.Client, agent: str) -> None:
    assert operator.delete(f"/v1/agents/{agent}").status_code == 204
    archived = operator.get(f"/v1/agents/{agent}").json()["archived_at"]
    assert archived
    assert operator.delete(f"/v1/agents/{agent}").status_code == 204
    assert operator.get(f"/v1/agents/{agent}").json()["archived_at"] == archived
    assert operator.post(f"/v1/agents/{agent}/versions", json={"spec": SPEC}).json()["code"] == "agent_archived"
    assert operator.post(f"/v1/agents/{agent}/versions/1/promote").json()["code"] == "agent_archived"
    assert operator.delete("/v1/agents/nobody").status_code == 404


def test_lists_page(operator: httpx.Client) -> None:
    for number in range(3):
        operator.post("/v1/agents", json={"slug": f"a{number}", "spec": SPEC})
    first = operator.get("/v1/agents", params={"limit": 2}).json()
    assert [item["slug"] for item in first["items"]] == ["a2", "a1"]
    rest = operator.get("/v1/agents", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert ([item["slug"] for item in rest["items"]], rest["next_cursor"]) == (["a0"], None)


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"model": "nameless"}, "/spec/model"),
        ({"model": "p/m", "tool": []}, "/spec/tool"),
        ({"model": "p/m", "parameters": {"temperature": 9}}, "/spec/parameters/temperature"),
        ({"model": "p/m", "output_schema": {"type": "nonsense"}}, "/spec/output_schema"),
        ({"model": "p/m", "tools": [{"type": "http"}]}, "/spec/tools/0"),
        ({"model": "p/m", "instructions": "a\x00b"}, "/spec"),
        ({"model": "p/m", "output_schema": {"\ud800": 1}}, "/spec"),
        ("text", "/spec"),
    ],
)
def test_flaws_of_a_spec_are_named(operator: httpx.Client, spec: Any, pointer: str) -> None:
    body = json.dumps({"slug": "flawed", "spec": spec})
    answer = operator.post("/v1/agents", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert any(flaw["pointer"].startswith(pointer) for flaw in answer.json()["errors"]), answer.text
