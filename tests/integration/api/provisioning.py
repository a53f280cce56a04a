"""What provisioning has to do, against any issuer that has Keycloak's administration: the embedded one, or the real."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

FELT_SECONDS = 5.0  # a second, and the noise of a busy machine


@dataclass(frozen=True)
class Ground:
    """An API, who may ask it, and the issuer's token endpoint."""

    admin: httpx.Client
    operator_of: Callable[[str], httpx.Client]
    as_bearer: Callable[[str], httpx.Client]
    token_url: str

    def tenant(self) -> str:
        """A tenant without an operator at the issuer; its slug."""
        slug = f"t-{secrets.token_hex(6)}"
        assert self.admin.post("/v1/tenants", json={"slug": slug}).status_code == 201
        return slug

    def client_token(self, client_id: str, secret: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        return httpx.post(self.token_url, data=form, timeout=30, trust_env=False)

    def acting(self, account: dict[str, Any]) -> httpx.Client:
        """The client of a service account that was just made or rotated."""
        answer = self.client_token(account["client_id"], account["client_secret"])
        assert answer.status_code == 200, answer.text
        return self.as_bearer(answer.json()["access_token"])


def email() -> str:
    return f"alice-{secrets.token_hex(5)}@acme.example"


def made(answer: httpx.Response, status: int = 201) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def a_tenant_with_its_operator(ground: Ground) -> dict[str, Any]:
    """Made together; asked again it is the same, until somebody else asks for the slug."""
    slug, name = f"t-{secrets.token_hex(6)}", email()
    body = {"slug": slug, "operator": {"email": name.upper(), "first_name": "Alice", "last_name": "Acme"}}
    headers = {"Idempotency-Key": slug}
    first = made(ground.admin.post("/v1/tenants", json=body, headers=headers))
    operator = first["operator"]
    assert operator["username"] == name
    assert (operator["role"], operator["status"]) == ("operator", "invited")
    assert len(operator["temporary_password"]) >= 16
    replayed = ground.admin.post("/v1/tenants", json=body, headers=headers)
    assert replayed.headers["idempotency-replayed"] == "true"
    assert replayed.json()["operator"]["temporary_password"] is None, "no secret is kept in the database"
    again = made(ground.admin.post("/v1/tenants", json=body))
    assert again == first
    other = {"slug": slug, "operator": {"email": email()}}
    assert ground.admin.post("/v1/tenants", json=other).json()["code"] == "conflict"
    assert ground.admin.post("/v1/tenants", json={"slug": slug}).json()["code"] == "conflict"
    return {"slug": slug, "username": name, **operator}


def users_come_and_go(ground: Ground) -> None:
    slug = ground.tenant()
    operator, name = ground.operator_of(slug), email()
    invited = made(operator.post("/v1/users", json={"email": name}))
    assert (invited["role"], invited["status"], invited["blocked"]) == ("user", "invited", False)
    assert made(operator.post("/v1/users", json={"email": name}))["id"] == invited["id"]
    assert operator.post("/v1/users", json={"email": name, "role": "operator"}).json()["code"] == "conflict"
    others = [made(operator.post("/v1/users", json={"email": email()}))["id"] for _ in range(3)]
    assert everybody(operator) == sorted([invited["id"], *others])
    assert operator.delete(f"/v1/users/{invited['id']}").status_code == 204
    gone = one_of(operator, invited["id"])
    assert (gone["status"], gone["blocked"]) == ("removed", True)
    assert [block["subject"] for block in operator.get("/v1/blocks").json()["items"]] == [invited["id"]]
    back = made(operator.post("/v1/users", json={"email": name, "role": "operator"}))
    assert back["id"] == invited["id"]
    assert back["temporary_password"] != invited["temporary_password"]
    assert operator.get("/v1/blocks").json()["items"] == []


def everybody(operator: httpx.Client) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while cursor or not found:
        page = operator.get("/v1/users", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += [user["id"] for user in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return sorted(found)


def one_of(operator: httpx.Client, user_id: str) -> Any:
    [found] = [user for user in operator.get("/v1/users").json()["items"] if user["id"] == user_id]
    return found


def no_operator_reaches_another_tenants_users(ground: Ground) -> None:
    operator, stranger = ground.operator_of(ground.tenant()), ground.operator_of(ground.tenant())
    name = email()
    invited = made(operator.post("/v1/users", json={"email": name}))
    assert stranger.post("/v1/users", json={"email": name}).json()["code"] == "conflict"
    assert stranger.delete(f"/v1/users/{invited['id']}").status_code == 404
    assert stranger.get("/v1/blocks").json()["items"] == [], "nothing is left of the try"
    assert stranger.get("/v1/users").json()["items"] == []
    assert one_of(operator, invited["id"])["status"] == "invited"
    again = made(operator.post("/v1/users", json={"email": name}))
    assert again["temporary_password"] == invited["temporary_password"]


def service_accounts_act_for_their_tenant_only(ground: Ground) -> None:
    slug, other = ground.tenant(), ground.tenant()
    operator, stranger = ground.operator_of(slug), ground.operator_of(other)
    account = made(operator.post("/v1/service-accounts", json={"name": "ci", "role": "operator"}))
    weak = made(stranger.post("/v1/service-accounts", json={"name": "ci"}))
    acting, weakly = ground.acting(account), ground.acting(weak)
    made(acting.post("/v1/agents", json={"slug": "helper", "spec": {"model": "p/m"}}))
    assert operator.get("/v1/agents/helper").status_code == 200
    assert weakly.get("/v1/agents/helper").status_code == 404, "the same name, another tenant"
    assert weakly.post("/v1/agents", json={"slug": "x", "spec": {"model": "p/m"}}).status_code == 403
    assert acting.get("/v1/tenants").status_code == 403
    assert acting.get(f"/v1/tenants/{other}").status_code == 403
    assert acting.get(f"/v1/tenants/{slug}").status_code == 200
    assert operator.post("/v1/service-accounts", json={"name": "ci"}).json()["code"] == "conflict"
    assert [item["name"] for item in operator.get("/v1/service-accounts").json()["items"]] == ["ci"]
    assert "client_secret" not in operator.get("/v1/service-accounts").json()["items"][0]


def service_accounts_are_rotated_and_deleted(ground: Ground) -> None:
    operator = ground.operator_of(ground.tenant())
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    first = made(operator.post("/v1/service-accounts", json={"name": "ci"}, headers=headers))
    kept = operator.post("/v1/service-accounts", json={"name": "ci"}, headers=headers)
    assert kept.json() == {**first, "client_secret": None}
    for _ in range(2):
        second = made(operator.post("/v1/service-accounts/ci/rotate"), 200)
        assert second["client_id"] == first["client_id"]
        assert ground.client_token(first["client_id"], first["client_secret"]).status_code == 401
        first = second
    acting = ground.acting(first)
    assert acting.get("/v1/runs").status_code == 200
    assert operator.delete("/v1/service-accounts/ci").status_code == 204
    refused_soon(acting)
    assert ground.client_token(first["client_id"], first["client_secret"]).status_code == 401
    assert operator.delete("/v1/service-accounts/ci").status_code == 404
    assert operator.post("/v1/service-accounts/ci/rotate").status_code == 404
    third = made(operator.post("/v1/service-accounts", json={"name": "ci"}))
    assert ground.acting(third).get("/v1/runs").status_code == 200
    assert acting.get("/v1/runs").status_code == 403


def users_and_service_accounts_are_counted(ground: Ground) -> None:
    slug, other = ground.tenant(), ground.tenant()
    operator, plan = ground.operator_of(slug), f"p-{secrets.token_hex(6)}"
    made(ground.admin.put(f"/v1/plans/{plan}", json={"users": 1, "service_accounts": 1}))
    made(ground.admin.patch(f"/v1/tenants/{slug}", json={"plan": plan}), 200)
    elsewhere, name = email(), email()
    made(ground.operator_of(other).post("/v1/users", json={"email": elsewhere}))
    assert operator.post("/v1/users", json={"email": elsewhere}).json()["code"] == "conflict", "counted as nobody"
    first = made(operator.post("/v1/users", json={"email": name}))
    assert operator.post("/v1/users", json={"email": email()}).json()["code"] == "quota_exceeded"
    assert made(operator.post("/v1/users", json={"email": name}))["id"] == first["id"]
    assert operator.delete(f"/v1/users/{first['id']}").status_code == 204
    made(operator.post("/v1/users", json={"email": email()}))
    made(operator.post("/v1/service-accounts", json={"name": "ci"}))
    assert operator.post("/v1/service-accounts", json={"name": "cd"}).json()["code"] == "quota_exceeded"
    assert [item["name"] for item in operator.get("/v1/service-accounts").json()["items"]] == ["ci"]
    assert operator.delete("/v1/service-accounts/ci").status_code == 204
    made(operator.post("/v1/service-accounts", json={"name": "cd"}))


def refused_soon(client: httpx.Client) -> None:
    began = time.monotonic()
    while (answer := client.get("/v1/runs")).status_code == 200:
        assert time.monotonic() - began < FELT_SECONDS, "still let in"
        time.sleep(0.05)
    assert answer.status_code == 403, answer.text


EXPECTATIONS = (
    a_tenant_with_its_operator,
    users_come_and_go,
    no_operator_reaches_another_tenants_users,
    service_accounts_act_for_their_tenant_only,
    service_accounts_are_rotated_and_deleted,
    users_and_service_accounts_are_counted,
)
