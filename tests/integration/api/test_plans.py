"""Plans over HTTP: who may see and change them, and which one a tenant has."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest

LIMITS: dict[str, Any] = {
    "requests_per_second": 7,
    "running_runs": 2,
    "queued_runs": 0,
    "artifact_bytes": 1000,
    "allowed_models": ["local/*", "openai/gpt-5"],
    "agents": 5,
    "agent_versions": 4,
    "secrets": 3,
    "service_accounts": 0,
    "users": 1,
}


def new_plan(admin: httpx.Client, **limits: Any) -> str:
    slug = f"p-{secrets.token_hex(6)}"
    assert admin.put(f"/v1/plans/{slug}", json=limits).status_code == 201
    return slug


def test_a_plan_is_written_as_a_whole(admin: httpx.Client) -> None:
    slug = f"p-{secrets.token_hex(6)}"
    assert admin.get(f"/v1/plans/{slug}").status_code == 404
    made = admin.put(f"/v1/plans/{slug}", json=LIMITS)
    assert (made.status_code, made.headers["location"]) == (201, f"/v1/plans/{slug}")
    assert made.json() == {**LIMITS, "slug": slug} | {name: made.json()[name] for name in ("created_at", "updated_at")}
    assert admin.get(f"/v1/plans/{slug}").json() == made.json()
    changed = admin.put(f"/v1/plans/{slug}", json={"running_runs": 3})
    assert changed.status_code == 200
    assert [changed.json()[name] for name in LIMITS] == [None, 3, *[None] * 8]
    assert changed.json()["created_at"] == made.json()["created_at"] < changed.json()["updated_at"]


def test_pages_hold_every_plan_once(admin: httpx.Client) -> None:
    made = sorted(new_plan(admin) for _ in range(3))
    seen: list[str] = []
    cursor = None
    while cursor or not seen:
        page = admin.get("/v1/plans", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["slug"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == sorted(set(seen))
    assert {*made, "default"} <= set(seen)


@pytest.mark.parametrize(
    "body",
    [
        {"running_runs": 0}, {"running_runs": "3"}, {"running_runs": 1.5}, {"requests_per_second": 2**31},
        {"queued_runs": -1}, {"agents": -1}, {"agent_versions": 0}, {"users": True},
        {"artifact_bytes": 2**63}, {"allowed_models": ["gpt"]}, {"allowed_models": ["a/**"]},
        {"allowed_models": ["A/x"]}, {"allowed_models": ["a/b*"]},
        {"allowed_models": ["*/x"]}, {"slug": "x"},
    ],
)  # fmt: skip
def test_odd_plans_are_refused(admin: httpx.Client, body: dict[str, Any]) -> None:
    assert admin.put("/v1/plans/odd", json=body).status_code == 422


def test_a_tenant_has_a_plan(admin: httpx.Client, operator: httpx.Client, user: httpx.Client, tenant: str) -> None:
    assert admin.get(f"/v1/tenants/{tenant}").json()["plan"] == "default"
    slug = new_plan(admin, **LIMITS)
    assert admin.patch(f"/v1/tenants/{tenant}", json={"plan": slug}).json()["plan"] == slug
    assert operator.get(f"/v1/tenants/{tenant}").json()["plan"] == slug
    assert operator.get(f"/v1/plans/{slug}").json()["running_runs"] == 2
    for refused in (
        operator.get("/v1/plans/default"), operator.get("/v1/plans"), operator.put(f"/v1/plans/{slug}", json={}),
        operator.patch(f"/v1/tenants/{tenant}", json={"plan": "default"}), user.get(f"/v1/plans/{slug}"),
    ):  # fmt: skip
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    for answer in (
        admin.patch(f"/v1/tenants/{tenant}", json={"plan": "nowhere"}),
        admin.post("/v1/tenants", json={"slug": f"n-{slug}", "plan": "nowhere"}),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/plan")
    made = admin.post("/v1/tenants", json={"slug": f"n-{slug}", "plan": slug})
    assert made.json()["plan"] == slug
