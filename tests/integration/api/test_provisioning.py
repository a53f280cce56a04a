"""Provisioning at the embedded issuer: what it does, and what is left when it fails at any step."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from tests.fixtures.stack import TestServers
from tests.integration.api import provisioning
from tests.integration.api.conftest import Clients
from tests.integration.api.contract import Contract
from tests.integration.api.flaky import Flaky, flaky
from tests.integration.api.provisioning import Ground, email, made
from tests.integration.api.test_outages import api_with


@pytest.fixture
def ground(servers: TestServers, client: Clients, contract: Contract, api_url: str) -> Iterator[Ground]:
    issuer = servers.stack.servers.issuer
    assert issuer is not None
    with ground_at(client, contract, api_url, issuer.token_url) as found:
        yield found


@contextmanager
def ground_at(client: Clients, contract: Contract, url: str, token_url: str) -> Iterator[Ground]:
    with ExitStack() as opened:

        def as_bearer(token: str) -> httpx.Client:
            headers = {"Authorization": f"Bearer {token}"}
            hooks = {"response": [contract.check]}
            return opened.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30, event_hooks=hooks))

        def operator_of(tenant: str) -> httpx.Client:
            return client("operator", tenant, "olga", url=url)

        yield Ground(client("admin", url=url), operator_of, as_bearer, token_url)


@pytest.mark.parametrize("expectation", provisioning.EXPECTATIONS, ids=lambda each: each.__name__)
def test_provisioning(ground: Ground, expectation: Callable[[Ground], Any]) -> None:
    expectation(ground)


@contextmanager
def failing(servers: TestServers, client: Clients, contract: Contract) -> Iterator[tuple[Ground, Flaky]]:
    """An API whose Keycloak can be made to fail at any call, before it is done or after."""
    issuer = servers.stack.servers.issuer
    assert issuer is not None
    with flaky(f"http://{issuer.address}") as proxy:
        realm = issuer.environment()["KEYCLOAK_ADMIN_URL"].partition("/admin/")[2]
        with (
            api_with(servers, KEYCLOAK_ADMIN_URL=f"{proxy.url}/admin/{realm}") as url,
            ground_at(client, contract, url, issuer.token_url) as ground,
        ):
            yield ground, proxy


def test_whatever_step_fails_repeating_leads_to_the_same(
    servers: TestServers, client: Clients, contract: Contract
) -> None:
    """Each call to Keycloak in turn fails: before it arrives, and after it was done, when nobody hears the answer."""
    with failing(servers, client, contract) as (ground, proxy):
        proxy.calls = 0
        made(ground.admin.post("/v1/tenants", json={"slug": unique(), "operator": {"email": email()}}))
        calls = proxy.calls
        assert calls >= 5
        for heard in (False, True):
            for number in range(1, calls + 1):
                slug, name = unique(), email()
                body = {"slug": slug, "operator": {"email": name}}
                headers = {"Idempotency-Key": slug}
                proxy.fail(number, heard=heard)
                failed = ground.admin.post("/v1/tenants", json=body, headers=headers)
                assert (failed.status_code, failed.json()["code"]) == (503, "dependency_unavailable"), number
                proxy.heal()
                first = made(ground.admin.post("/v1/tenants", json=body, headers=headers))
                operator = ground.operator_of(slug)
                users = operator.get("/v1/users").json()["items"]
                assert [(user["username"], user["role"]) for user in users] == [(name, "operator")], number
                again = made(ground.admin.post("/v1/tenants", json=body))
                assert again["operator"]["temporary_password"] == first["operator"]["temporary_password"]


def test_a_service_account_survives_an_answer_that_was_lost(
    servers: TestServers, client: Clients, contract: Contract
) -> None:
    """The token that changes its client is good once; when its successor is lost, another client takes its place."""
    with failing(servers, client, contract) as (ground, proxy):
        operator = ground.operator_of(ground.tenant())
        proxy.fail(1, heard=True)
        assert operator.post("/v1/service-accounts", json={"name": "ci"}).status_code == 503
        [unfinished] = operator.get("/v1/service-accounts").json()["items"]
        assert unfinished["client_id"] is None
        proxy.heal()
        first = made(operator.post("/v1/service-accounts", json={"name": "ci"}))
        acting = ground.acting(first)
        proxy.fail(1, heard=True)
        assert operator.post("/v1/service-accounts/ci/rotate").status_code == 503
        proxy.heal()
        second = made(operator.post("/v1/service-accounts/ci/rotate"), 200)
        assert second["client_id"] != first["client_id"]
        provisioning.refused_soon(acting)
        acting = ground.acting(second)
        proxy.fail(1, heard=False)
        assert operator.delete("/v1/service-accounts/ci").status_code == 503
        provisioning.refused_soon(acting)
        proxy.heal()
        assert operator.delete("/v1/service-accounts/ci").status_code == 204


def test_a_removed_user_is_kept_out_while_keycloak_is_away(
    servers: TestServers, client: Clients, contract: Contract
) -> None:
    with failing(servers, client, contract) as (ground, proxy):
        operator = ground.operator_of(ground.tenant())
        user = made(operator.post("/v1/users", json={"email": email()}))
        proxy.fail(1, heard=False)
        assert operator.delete(f"/v1/users/{user['id']}").status_code == 503
        assert [block["subject"] for block in operator.get("/v1/blocks").json()["items"]] == [user["id"]]
        proxy.heal()
        assert operator.delete(f"/v1/users/{user['id']}").status_code == 204


def test_without_a_provisioning_client_it_says_so(servers: TestServers, client: Clients) -> None:
    with api_with(servers, KEYCLOAK_PROVISIONER_SECRET_FILE="") as url:
        admin = client("admin", url=url)
        answer = admin.post("/v1/tenants", json={"slug": unique(), "operator": {"email": email()}})
        assert (answer.status_code, answer.json()["code"]) == (409, "provisioning_not_configured")
        slug = unique()
        assert admin.post("/v1/tenants", json={"slug": slug}).status_code == 201
        operator = client("operator", slug, url=url)
        assert operator.get("/v1/users").json()["code"] == "provisioning_not_configured"
        assert operator.post("/v1/service-accounts", json={"name": "ci"}).status_code == 409


def test_a_wrong_secret_is_named_and_not_shown(servers: TestServers, client: Clients) -> None:
    marker = "wrong-secret-8c1f"
    with api_with(servers, KEYCLOAK_PROVISIONER_SECRET_FILE="", KEYCLOAK_PROVISIONER_SECRET=marker) as url:
        answer = client("admin", url=url).post("/v1/tenants", json={"slug": unique(), "operator": {"email": email()}})
        assert answer.status_code == 503
        assert "KEYCLOAK_PROVISIONER_SECRET" in answer.json()["detail"]
        assert marker not in answer.text


def test_only_those_who_may_provision(admin: httpx.Client, user: httpx.Client, operator: httpx.Client) -> None:
    for client in (admin, user):
        assert client.post("/v1/users", json={"email": email()}).status_code == 403
        assert client.get("/v1/users").status_code == 403
        assert client.post("/v1/service-accounts", json={"name": "ci"}).status_code == 403
    for bad in ("no-address", "two@at@signs.example", "a b@c.example", "", "x" * 300 + "@c.example"):
        assert operator.post("/v1/users", json={"email": bad}).status_code == 422
    for field in ("tenant", "tenant_id"):
        assert operator.post("/v1/users", json={"email": email(), field: "acme"}).status_code == 422
    assert operator.post("/v1/users", json={"email": email(), "role": "admin"}).status_code == 422


def unique() -> str:
    return f"t-{secrets.token_hex(6)}"
