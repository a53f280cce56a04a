"""Tenants over HTTP: who may see and change them, and what suspending does."""

from __future__ import annotations

import secrets
from uuid import uuid4

import httpx

from tests.integration.api.conftest import Clients
from tests.integration.api.records import Records
from tests.integration.api.test_runs import start


def test_tenants_are_made_once(admin: httpx.Client) -> None:
    slug, own_id = f"x-{secrets.token_hex(5)}", str(uuid4())
    body = {"slug": slug, "name": "Ex", "id": own_id}
    made = admin.post("/v1/tenants", json=body, headers={"Idempotency-Key": slug})
    assert made.status_code == 201
    defaults = {"status": "active", "plan": "default", "retention_days": None}
    assert made.json() | {"created_at": ""} == {**body, **defaults, "created_at": ""}
    assert made.headers["location"] == f"/v1/tenants/{own_id}"
    again = admin.post("/v1/tenants", json=body, headers={"Idempotency-Key": slug})
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, made.json(), "true")
    assert admin.post("/v1/tenants", json=body).json()["code"] == "conflict"
    assert admin.post("/v1/tenants", json={**body, "slug": f"{slug}-2"}).json()["code"] == "conflict"
    assert admin.post("/v1/tenants", json={"slug": slug}).json()["code"] == "conflict"
    for name in (slug, own_id):
        assert admin.get(f"/v1/tenants/{name}").json() == made.json()
    assert admin.post("/v1/tenants", json={"slug": "a" + own_id[1:]}).status_code == 422
    nil = admin.post("/v1/tenants", json={"slug": f"{slug}-3", "id": "00000000-0000-0000-0000-000000000000"})
    assert nil.status_code == 422


def test_pages_hold_every_tenant_once(admin: httpx.Client) -> None:
    made = [admin.post("/v1/tenants", json={"slug": f"p-{secrets.token_hex(6)}"}).json()["id"] for _ in range(3)]
    seen: list[str] = []
    cursor = None
    while cursor or not seen:
        page = admin.get("/v1/tenants", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert [tenant_id for tenant_id in seen if tenant_id in made] == made[::-1]
    assert len(set(seen)) == len(seen)


def test_roles(admin: httpx.Client, operator: httpx.Client, user: httpx.Client, tenant: str, agent: str) -> None:
    assert operator.get(f"/v1/tenants/{tenant}").status_code == 200
    assert user.get(f"/v1/tenants/{tenant}").status_code == 403
    assert operator.get("/v1/tenants").status_code == 403
    assert operator.get("/v1/tenants/nobody-here").status_code == 403, "as for a tenant that there is"
    assert operator.post("/v1/tenants", json={"slug": "mine"}).status_code == 403
    assert operator.patch(f"/v1/tenants/{tenant}", json={"name": "x"}).status_code == 403
    assert admin.get("/v1/runs").status_code == 403
    assert admin.post("/v1/runs", json={"agent": agent, "input": 1}).status_code == 403
    assert user.post("/v1/agents", json={"slug": "mine", "spec": {"model": "p/m"}}).status_code == 403
    assert user.get(f"/v1/agents/{agent}").status_code == 200
    assert user.delete(f"/v1/agents/{agent}").status_code == 403


def test_an_operator_sees_no_other_tenant(admin: httpx.Client, operator: httpx.Client) -> None:
    other = admin.post("/v1/tenants", json={"slug": f"o-{secrets.token_hex(5)}"}).json()
    answers = [operator.get(f"/v1/tenants/{name}") for name in (other["id"], other["slug"], str(uuid4()), "nobody")]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert len({answer.json()["detail"] for answer in answers}) == 1


def test_an_unknown_tenant_is_forbidden(client: Clients) -> None:
    for claim in ("nobody-here", str(uuid4()), "Not A Tenant", "'; DROP TABLE runs"):
        answer = client("operator", claim).get("/v1/runs")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_the_claim_may_be_the_id(admin: httpx.Client, client: Clients, tenant: str, operator: httpx.Client) -> None:
    tenant_id = admin.get(f"/v1/tenants/{tenant}").json()["id"]
    operator.post("/v1/agents", json={"slug": "one", "spec": {"model": "p/m"}})
    assert client("operator", tenant_id).get("/v1/agents/one").status_code == 200


def test_a_suspended_tenant_may_not_work(
    admin: httpx.Client, operator: httpx.Client, tenant: str, agent: str, records: Records
) -> None:
    run = start(operator, agent)
    done = start(operator, agent)
    operator.post(f"/v1/runs/{done['id']}/cancel")
    suspended = admin.patch(f"/v1/tenants/{tenant}", json={"status": "suspended"})
    assert suspended.json()["status"] == "suspended"
    for answer in (operator.get("/v1/runs"), operator.post("/v1/runs", json={"agent": agent, "input": 1})):
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended")
    assert records.sql(f"SELECT control_seq > control_seen FROM runs WHERE id = '{run['id']}'") == [(True,)]
    assert records.sql(f"SELECT control_seq FROM runs WHERE id = '{done['id']}'") == [(1,)]
    admin.patch(f"/v1/tenants/{tenant}", json={"status": "active", "name": "Back"})
    assert operator.get("/v1/runs").status_code == 200
    assert admin.get(f"/v1/tenants/{tenant}").json()["name"] == "Back"
    assert admin.patch("/v1/tenants/nobody-here", json={"name": "x"}).status_code == 404
