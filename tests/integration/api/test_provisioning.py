"""Provisioning at the embedded issuer: what it does, and what is left when it fails at any step."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import httpx
import pytest

from tests.fixtures.stack import TestServers
from tests.integration.api import provisioning
from tests.integration.api.conftest import Clients
from tests.integration.api.contract import Contract
from tests.integration.api.flaky import Flaky, flaky
from tests.integration.api.provisioning import Ground, email, made
from tests.integration.api.sse import events_of
from tests.integration.api.test_outages import api_with, closed_port
from tests.integration.api.test_runs import start


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


@pytest.fixture(scope="module")
def proxied_api(servers: TestServers) -> Iterator[tuple[str, Flaky]]:
    """An API whose Keycloak can be made to fail at any call, before it is done or after."""
    issuer = servers.stack.servers.issuer
    assert issuer is not None
    realm = issuer.environment()["KEYCLOAK_ADMIN_URL"].partition("/admin/")[2]
    with (
        flaky(f"http://{issuer.address}") as proxy,
        api_with(servers, KEYCLOAK_ADMIN_URL=f"{proxy.url}/admin/{realm}") as url,
    ):
        yield url, proxy


@pytest.fixture
def failing(
    servers: TestServers, client: Clients, contract: Contract, proxied_api: tuple[str, Flaky]
) -> Iterator[tuple[Ground, Flaky]]:
    issuer = servers.stack.servers.issuer
    assert issuer is not None
    url, proxy = proxied_api
    proxy.heal()
    with ground_at(client, contract, url, issuer.token_url) as ground:
        yield ground, proxy


def test_whatever_step_fails_repeating_leads_to_the_same(failing: tuple[Ground, Flaky]) -> None:
    """Each call to Keycloak in turn fails: before it arrives, and after it was done, when nobody hears the answer."""
    ground, proxy = failing
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


def test_a_service_account_survives_an_answer_that_was_lost(failing: tuple[Ground, Flaky]) -> None:
    """The token that changes its client is good once; when its successor is lost, another client takes its place."""
    ground, proxy = failing
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


def test_a_removed_user_is_kept_out_while_keycloak_is_away(failing: tuple[Ground, Flaky]) -> None:
    ground, proxy = failing
    operator = ground.operator_of(ground.tenant())
    user = made(operator.post("/v1/users", json={"email": email()}))
    proxy.fail(1, heard=False)
    assert operator.delete(f"/v1/users/{user['id']}").status_code == 503
    assert [block["subject"] for block in operator.get("/v1/blocks").json()["items"]] == [user["id"]]
    proxy.heal()
    assert operator.delete(f"/v1/users/{user['id']}").status_code == 204


def test_a_deleted_service_account_is_out_everywhere_open_streams_included(
    servers: TestServers, ground: Ground, agent: str, operator: httpx.Client
) -> None:
    account = made(operator.post("/v1/service-accounts", json={"name": "ci"}))
    acting = ground.acting(account)
    run_id = start(acting, agent)["id"]
    with api_with(servers, REDIS_URL=f"redis://127.0.0.1:{closed_port()}/0") as url:
        headers = {"Authorization": acting.headers["authorization"]}
        with (
            httpx.Client(base_url=url, headers=headers, timeout=30) as elsewhere,
            events_of(elsewhere, run_id) as frames,
        ):
            list(islice(frames, 2))
            began = time.monotonic()
            assert operator.delete("/v1/service-accounts/ci").status_code == 204
            assert list(frames) == []
            assert time.monotonic() - began < provisioning.FELT_SECONDS
            provisioning.refused_soon(elsewhere)
            assert "no service account here" in elsewhere.get("/v1/runs").json()["detail"]


def test_what_a_token_says_changes_nothing_for_a_service_account(
    servers: TestServers, ground: Ground, operator: httpx.Client, agent: str
) -> None:
    """Tenant and role are those of our row, also when the token claims others; nobody else passes for the client."""
    account = made(operator.post("/v1/service-accounts", json={"name": "ci"}))
    client, other = account["client_id"], ground.tenant()

    def bearer(**claims: Any) -> httpx.Client:
        forged = {"client_id": client, "tenant_id": None, **claims}
        return ground.as_bearer(servers.stack.token(role="operator", tenant=None, client=client, claims=forged))

    assert bearer().get(f"/v1/agents/{agent}").status_code == 200
    assert bearer(tenant_id=other).get(f"/v1/agents/{agent}").status_code == 200, "our tenant, not the token's"
    refused = bearer(tenant_id=other).post("/v1/agents", json={"slug": "x", "spec": {"model": "p/m"}})
    assert refused.status_code == 403, "our role, not the token's"
    for person in ({"sid": "a-session"}, {"client_id": None}, {"client_id": "another"}):
        assert bearer(**person).get(f"/v1/agents/{agent}").status_code == 403
    administrator = {"realm_access": {"roles": ["admin", "operator"]}}
    assert bearer(**administrator).get("/v1/tenants").status_code == 403


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
