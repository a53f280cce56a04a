"""The ground for provisioning at a real Keycloak: an API that provisions there, its callers, and an attacker."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.conformance.keycloak.server import Keycloak
from tests.fixtures.stack import TestServers
from tests.integration.api.provisioning import Ground

PROVISIONER = "agent-runtime-provisioner"
DIRECT = "test-direct"  # a client of the tests alone, with which users sign in by password
PASSWORD_OF_MEMBERS = "a-Password-of-tests-1"


@pytest.fixture(scope="session")
def direct(keycloak: Keycloak) -> str:
    """A client that tests make with the administrator's token; the shipped realm has none for passwords."""
    with keycloak.admin() as admin:
        roles = [admin.get(f"/roles/{name}").json() for name in ("admin", "operator", "user")]
        console = admin.get("/clients", params={"clientId": "agent-runtime-console"}).json()[0]
        body = {
            "clientId": DIRECT,
            "publicClient": True,
            "directAccessGrantsEnabled": True,
            "standardFlowEnabled": False,
            "fullScopeAllowed": False,
            "protocolMappers": [{**mapper, "id": None} for mapper in console["protocolMappers"]],
        }
        location = admin.post("/clients", json=body).raise_for_status().headers["location"]
        admin.post(f"/clients/{location.rpartition('/')[2]}/scope-mappings/realm", json=roles).raise_for_status()
    return DIRECT


@pytest.fixture(scope="session")
def api(servers: TestServers, keycloak: Keycloak, worker_id: str) -> str:
    """An API that believes this Keycloak and provisions there."""
    environment = {
        **servers.environment,
        **keycloak.environment,
        "KEYCLOAK_ADMIN_URL": f"{keycloak.url}/admin/realms/agent-runtime",
        "KEYCLOAK_PROVISIONER_SECRET_FILE": "",
        "KEYCLOAK_PROVISIONER_SECRET": keycloak.variables["KEYCLOAK_PROVISIONER_SECRET"],
    }
    return servers.stack.add_api(f"api-keycloak-{worker_id}", environment=environment)


def sign_in(keycloak: Keycloak, username: str, password: str) -> str:
    form = {"grant_type": "password", "client_id": DIRECT, "username": username, "password": password}
    return str(keycloak.token(form)["access_token"])


@contextmanager
def tidied(keycloak: Keycloak) -> Iterator[None]:
    """The clients that are made meanwhile are gone afterwards: other tests compare realms."""
    before = set(clients_of(keycloak))
    try:
        yield
    finally:
        after = clients_of(keycloak)
        with keycloak.admin() as root:
            for name in after.keys() - before:
                root.delete(f"/clients/{after[name]}").raise_for_status()


def clients_of(keycloak: Keycloak) -> dict[str, str]:
    with keycloak.admin() as root:
        return {client["clientId"]: client["id"] for client in root.get("/clients").json()}


@pytest.fixture
def ground(keycloak: Keycloak, direct: str, api: str) -> Iterator[Ground]:
    with tidied(keycloak), ExitStack() as opened:

        def as_bearer(token: str) -> httpx.Client:
            headers = {"Authorization": f"Bearer {token}"}
            return opened.enter_context(httpx.Client(base_url=api, headers=headers, timeout=60))

        admin = as_bearer(sign_in(keycloak, "dev-admin", keycloak.password))

        def operator_of(tenant: str) -> httpx.Client:
            """An operator whom an administrator of Keycloak has made."""
            name = f"op-{secrets.token_hex(6)}@{tenant}.example"
            with keycloak.admin() as root:
                add_user(root, name, tenant, "operator")
            return as_bearer(sign_in(keycloak, name, "a-Password-of-tests-1"))

        token_url = f"{keycloak.issuer}/protocol/openid-connect/token"
        yield Ground(admin, operator_of, as_bearer, token_url)


def add_user(root: httpx.Client, name: str, tenant: str, role: str) -> str:
    credentials = [{"type": "password", "value": "a-Password-of-tests-1", "temporary": False}]
    body = {
        "username": name,
        "email": name,
        "firstName": "Olga",
        "lastName": "Operator",
        "enabled": True,
        "groups": [],
        "attributes": {"tenant_id": [tenant]},
        "credentials": credentials,
    }
    user = str(root.post("/users", json=body).raise_for_status().headers["location"]).rpartition("/")[2]
    roles = [root.get(f"/roles/{role}").json()]
    root.post(f"/users/{user}/role-mappings/realm", json=roles).raise_for_status()
    return user


@dataclass
class Attacker:
    """Who holds the provisioning client's secret, and what stands in the realm."""

    keycloak: Keycloak
    http: httpx.Client
    administrator: str
    outsider: str
    roles: dict[str, Any]
    groups: dict[str, str]
    clients: dict[str, str]

    def member(self, tenant: str = "acme") -> str:
        """A user that it makes, as it may."""
        name = f"m-{secrets.token_hex(6)}@{tenant}.example"
        credentials = [{"type": "password", "value": "a-Password-of-tests-1", "temporary": False}]
        body = {"username": name, "enabled": True, "groups": ["/tenants"], "attributes": {"tenant_id": [tenant]}}
        answer = self.http.post("/users", json={**body, "email": name, "credentials": credentials})
        assert answer.status_code == 201, answer.text
        return answer.headers["location"].rpartition("/")[2]


@pytest.fixture
def attacker(keycloak: Keycloak) -> Iterator[Attacker]:
    form = {
        "grant_type": "client_credentials",
        "client_id": PROVISIONER,
        "client_secret": keycloak.variables["KEYCLOAK_PROVISIONER_SECRET"],
    }
    headers = {"Authorization": f"Bearer {keycloak.token(form)['access_token']}"}
    url = f"{keycloak.url}/admin/realms/agent-runtime"
    with (
        tidied(keycloak),
        keycloak.admin() as root,
        httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http,
    ):
        boss = root.get("/users", params={"username": "dev-admin", "exact": "true"}).json()[0]["id"]
        body = {"username": f"out-{secrets.token_hex(4)}", "enabled": True}
        outsider = root.post("/users", json=body).raise_for_status().headers["location"].rpartition("/")[2]
        roles = {role["name"]: role for role in root.get("/roles").json()}
        groups = {group["name"]: group["id"] for group in root.get("/groups").json()}
        yield Attacker(keycloak, http, boss, outsider, roles, groups, clients_of(keycloak))


@contextmanager
def asking(api: str, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        yield client
