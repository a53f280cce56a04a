"""The update of an installed realm: it adds, it sets right what the platform relies on, it overwrites nothing."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from keycloak.__main__ import FAILED, REALM, main
from keycloak.admin import Admin
from keycloak.update import update as make
from keycloak.variables import load
from tests.conformance.keycloak.issuers import RealIssuer
from tests.conformance.keycloak.server import ADMINISTRATOR, Keycloak


def update(keycloak: Keycloak, *options: str) -> int:
    return main(["update", *options], {**keycloak.variables, "KEYCLOAK_URL": keycloak.url})


def facts(keycloak: Keycloak, realm: str = "agent-runtime") -> dict[str, Any]:
    """What an update must not change."""
    with keycloak.admin(realm) as admin:
        users = admin.get("/users", params={"max": "100"}).json()
        clients = {each["clientId"]: unordered(each) for each in admin.get("/clients").json()}
        roles = {
            user["username"]: sorted(
                role["name"] for role in admin.get(f"/users/{user['id']}/role-mappings/realm").json()
            )
            for user in users
        }
        secret = clients["agent-runtime-console"].get("secret")
        return {"users": {user["username"]: user for user in users}, "roles": roles, "clients": clients, "key": secret}


def unordered(client: dict[str, Any]) -> dict[str, Any]:
    """Keycloak keeps scopes, addresses and mappers as sets and lists them in any order."""
    return {
        name: sorted(value, key=lambda each: json.dumps(each, sort_keys=True)) if isinstance(value, list) else value
        for name, value in client.items()
    }


def test_a_second_update_changes_nothing(keycloak: Keycloak, capsys: pytest.CaptureFixture[str]) -> None:
    before = facts(keycloak)
    assert update(keycloak, "--development") == 0
    assert capsys.readouterr().out == "The realm is up to date.\n"
    assert facts(keycloak) == before


def test_an_update_overwrites_nobody(keycloak: Keycloak, real: RealIssuer) -> None:
    """Passwords, attributes, names, secrets and what an administrator has chosen."""
    with keycloak.admin() as admin:
        user = admin.get("/users", params={"username": "globex-user", "exact": "true"}).json()[0]
        changed = {**user, "firstName": "Renamed", "attributes": {**user["attributes"], "tenant_id": ["initech"]}}
        assert admin.put(f"/users/{user['id']}", json=changed).status_code == 204
        secret = {"type": "password", "value": "a password of their own", "temporary": False}
        assert admin.put(f"/users/{user['id']}/reset-password", json=secret).status_code == 204
        assert admin.put("", json={"ssoSessionIdleTimeout": 1234}).status_code == 204
        console = admin.get("/clients", params={"clientId": "agent-runtime-console"}).json()[0]
        uris = [*console["redirectUris"], "https://further.example/auth/callback"]
        assert admin.put(f"/clients/{console['id']}", json={**console, "redirectUris": uris}).status_code == 204
    before = facts(keycloak)
    assert update(keycloak, "--development") == 0
    assert facts(keycloak) == before
    form = {"grant_type": "password", "client_id": "test-password", "username": "globex-user"}
    assert real.endpoints.token(**form, password="a password of their own").status_code == 200
    with keycloak.admin() as admin:
        assert admin.get("").json()["ssoSessionIdleTimeout"] == 1234


def test_what_the_platform_relies_on_is_set_right(keycloak: Keycloak, capsys: pytest.CaptureFixture[str]) -> None:
    before = facts(keycloak)
    with keycloak.admin() as admin:
        drift = {"accessTokenLifespan": 86_400, "revokeRefreshToken": False, "registrationAllowed": True}
        assert admin.put("", json=drift).status_code == 204
        cli = admin.get("/clients", params={"clientId": "agent-runtime-cli"}).json()[0]
        loose = {**cli, "fullScopeAllowed": True, "directAccessGrantsEnabled": True}
        loose["attributes"] = {**cli["attributes"], "pkce.code.challenge.method": ""}
        assert admin.put(f"/clients/{cli['id']}", json=loose).status_code == 204
        for mapper in cli["protocolMappers"]:
            mappers = f"/clients/{cli['id']}/protocol-mappers/models/{mapper['id']}"
            assert admin.delete(mappers).status_code == 204
        mapped = f"/clients/{cli['id']}/scope-mappings/realm"
        assert admin.request("DELETE", mapped, json=admin.get(mapped).json()).status_code == 204
        operator = "/roles/operator/composites"
        assert admin.request("DELETE", operator, json=admin.get(operator).json()).status_code == 204
        _widen(admin)
    assert update(keycloak) == 0
    said = capsys.readouterr().out
    for expected in (
        "accessTokenLifespan",
        "fullScopeAllowed",
        "attributes",
        "tenant-id",
        "includes user",
        "set right",
    ):
        assert expected in said
    with keycloak.admin() as admin:
        realm = admin.get("").json()
    assert not realm["registrationAllowed"]
    assert realm["revokeRefreshToken"]
    assert realm["accessTokenLifespan"] == 300
    after = facts(keycloak)
    for name, client in _essential(before).items():
        assert _essential(after)[name] == client
    assert {**after, "clients": 0} == {**before, "clients": 0}
    assert update(keycloak) == 0
    assert capsys.readouterr().out == "The realm is up to date.\n"


def _widen(admin: Any) -> None:
    """Give the provisioner a permission over every group, as a careless click would."""
    server = f"/clients/{admin.get('/clients', params={'clientId': 'admin-permissions'}).json()[0]['id']}"
    server += "/authz/resource-server"
    name = "agent-runtime-provisioner: members of /tenants"
    found = admin.get(f"{server}/permission/search", params={"name": name}).json()
    policies = [each["id"] for each in admin.get(f"{server}/policy/{found['id']}/associatedPolicies").json()]
    wide = {
        "id": found["id"],
        "name": name,
        "resourceType": "Groups",
        "scopes": ["manage", "view"],
        "policies": policies,
    }
    assert admin.put(f"{server}/permission/scope/{found['id']}", json=wide).status_code == 201


def _essential(found: dict[str, Any]) -> dict[str, Any]:
    """Without the ids of mappers, which are new."""
    clients: dict[str, Any] = copy.deepcopy(found["clients"])
    for client in clients.values():
        client["protocolMappers"] = sorted(each["name"] for each in client.get("protocolMappers", []))
    return clients


def test_what_only_an_administrator_may_decide_is_told(keycloak: Keycloak, capsys: pytest.CaptureFixture[str]) -> None:
    with keycloak.admin() as admin:
        roles = [admin.get("/roles/user").json()]
        assert admin.post("/roles/default-roles-agent-runtime/composites", json=roles).status_code == 204
        try:
            assert update(keycloak) == FAILED
            assert "default roles" in capsys.readouterr().err
        finally:
            admin.request("DELETE", "/roles/default-roles-agent-runtime/composites", json=roles)
    assert update(keycloak) == 0


def test_the_update_makes_a_realm_that_is_not_there(keycloak: Keycloak) -> None:
    """As the import does, under another name: both have the same clients, roles and users afterwards."""
    text = json.dumps(load(REALM, keycloak.variables)).replace("default-roles-agent-runtime", "default-roles-second")
    document = {**json.loads(text), "realm": "second"}
    form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMINISTRATOR}
    admin = Admin(keycloak.url, {**form, "password": keycloak.variables["KC_BOOTSTRAP_ADMIN_PASSWORD"]})
    assert make(admin, document)[0] == "realm second: made"
    assert make(admin, document) == []
    imported, made = facts(keycloak), facts(keycloak, "second")
    assert set(made["clients"]) == {name for name in imported["clients"] if not name.startswith("test-")}
    assert set(made["users"]) == {"platform-admin"}
    assert made["roles"]["platform-admin"] == ["admin", "default-roles-second"]
    assert made["key"] == keycloak.variables["CONSOLE_CLIENT_SECRET"]
