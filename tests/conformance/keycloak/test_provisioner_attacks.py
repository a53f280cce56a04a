"""Attacks from who holds the provisioning client's secret: by administration, and by registering clients."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from jose import jwt

from tests.conformance.keycloak.provisioning import (
    PASSWORD_OF_MEMBERS,
    PROVISIONER,
    Attacker,
    asking,
    sign_in,
)
from tests.conformance.keycloak.server import Keycloak
from tests.integration.api.provisioning import Ground, made

Attack = Callable[[Attacker], httpx.Response]
PASSWORD = {"type": "password", "value": "a-Password-of-attackers-1", "temporary": False}

# The first test starts Keycloak, the servers and an API.
pytestmark = pytest.mark.timeout(600)


def _map(attacker: Attacker, user: str, *names: str) -> httpx.Response:
    roles = [{"id": attacker.roles[name]["id"], "name": name} for name in names]
    return attacker.http.post(f"/users/{user}/role-mappings/realm", json=roles)


def _map_client_role(attacker: Attacker, user: str, name: str) -> httpx.Response:
    management = attacker.clients["realm-management"]
    with attacker.keycloak.admin() as root:
        role = root.get(f"/clients/{management}/roles/{name}").json()
    return attacker.http.post(f"/users/{user}/role-mappings/clients/{management}", json=[role])


def _take_in(attacker: Attacker, user: str) -> httpx.Response:
    return attacker.http.put(f"/users/{user}/groups/{attacker.groups['tenants']}")


ATTACKS: dict[str, Attack] = {
    "give itself the role admin": lambda a: _map(a, _own(a), "admin"),
    "give a user of its own the role admin": lambda a: _map(a, a.member(), "admin"),
    "give a user of its own the right manage-users": lambda a: _map_client_role(a, a.member(), "manage-users"),
    "give a user of its own the right realm-admin": lambda a: _map_client_role(a, a.member(), "realm-admin"),
    "give itself the right manage-clients": lambda a: _map_client_role(a, _own(a), "manage-clients"),
    "reset the administrator's password": lambda a: a.http.put(
        f"/users/{a.administrator}/reset-password", json=PASSWORD
    ),
    "read the administrator": lambda a: a.http.get(f"/users/{a.administrator}"),
    "change the administrator": lambda a: a.http.put(f"/users/{a.administrator}", json={"enabled": False}),
    "delete the administrator": lambda a: a.http.delete(f"/users/{a.administrator}"),
    "log the administrator out": lambda a: a.http.post(f"/users/{a.administrator}/logout"),
    "impersonate the administrator": lambda a: a.http.post(f"/users/{a.administrator}/impersonation"),
    "impersonate a user of its own": lambda a: a.http.post(f"/users/{a.member()}/impersonation"),
    "take the administrator into the group": lambda a: _take_in(a, a.administrator),
    "take an outsider into the group": lambda a: _take_in(a, a.outsider),
    "change an outsider": lambda a: a.http.put(f"/users/{a.outsider}", json={"attributes": {"tenant_id": ["acme"]}}),
    "make a user outside of the group": lambda a: a.http.post("/users", json={"username": f"x-{secrets.token_hex(4)}"}),
    "make the role operator include admin": lambda a: a.http.post(
        "/roles/operator/composites", json=[a.roles["admin"]]
    ),
    "give the group the role admin": lambda a: a.http.post(
        f"/groups/{a.groups['tenants']}/role-mappings/realm", json=[a.roles["admin"]]
    ),
    "make a role": lambda a: a.http.post("/roles", json={"name": "mine"}),
    "make a group": lambda a: a.http.post("/groups", json={"name": "mine"}),
    "make a client by administration": lambda a: a.http.post("/clients", json={"clientId": "mine"}),
    "list clients": lambda a: a.http.get("/clients"),
    "change the console's client": lambda a: a.http.put(
        f"/clients/{a.clients['agent-runtime-console']}", json={"fullScopeAllowed": True}
    ),
    "read the console's secret": lambda a: a.http.get(f"/clients/{a.clients['agent-runtime-console']}/client-secret"),
    "change the realm": lambda a: a.http.put("", json={"registrationAllowed": True}),
    "read the realm's keys": lambda a: a.http.get("/keys"),
    "change the registration policies": lambda a: a.http.get("/components"),
    "make a client scope": lambda a: a.http.post("/client-scopes", json={"name": "mine", "protocol": "openid-connect"}),
    "read the login flows": lambda a: a.http.get("/authentication/flows"),
    "make an initial access token": lambda a: a.http.post("/clients-initial-access", json={"count": 1}),
    "import": lambda a: a.http.post("/partialImport", json={"ifResourceExists": "SKIP", "users": []}),
    "read the permissions": lambda a: a.http.get(
        f"/clients/{a.clients['admin-permissions']}/authz/resource-server/policy"
    ),
    "read events": lambda a: a.http.get("/events"),
}


def _own(attacker: Attacker) -> str:
    with attacker.keycloak.admin() as root:
        return str(root.get(f"/clients/{attacker.clients[PROVISIONER]}/service-account-user").json()["id"])


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_provisioning_client_cannot(attacker: Attacker, attack: str) -> None:
    answer = ATTACKS[attack](attacker)
    assert answer.status_code in (403, 404), f"{answer.status_code} {answer.text[:200]}"


def test_what_it_may_makes_no_administrator(attacker: Attacker, direct: str, api: str) -> None:
    """It can make members, and operators of any tenant: so its secret is the API's alone. No role reaches further."""
    user = attacker.member("globex")
    assert _map(attacker, user, "operator").status_code == 204
    with attacker.keycloak.admin() as root:
        name = root.get(f"/users/{user}").json()["username"]
        names = {"firstName": "Max", "lastName": "Member"}
        root.put(f"/users/{user}", json={**root.get(f"/users/{user}").json(), **names}).raise_for_status()
    claims = jwt.get_unverified_claims(sign_in(attacker.keycloak, name, PASSWORD_OF_MEMBERS))
    assert sorted(claims["realm_access"]["roles"]) == ["operator", "user"]


def test_a_role_that_it_gives_to_an_outsider_is_of_no_use(attacker: Attacker, direct: str, api: str) -> None:
    """Keycloak lets it give its two roles to anybody; who has no tenant stays without one."""
    assert _map(attacker, attacker.administrator, "operator").status_code == 204
    try:
        token = sign_in(attacker.keycloak, "dev-admin", attacker.keycloak.password)
    finally:
        with attacker.keycloak.admin() as root:
            path = f"/users/{attacker.administrator}/role-mappings/realm"
            root.request("DELETE", path, json=[attacker.roles["operator"]]).raise_for_status()
    with asking(api, token) as http:
        assert http.get("/v1/agents").status_code == 403
        assert http.get("/v1/tenants").status_code == 200


# -- by registering clients


def register(attacker: Attacker, **changed: Any) -> httpx.Response:
    """As the API does, but for what is changed."""
    body = {
        "clientId": f"evil-{secrets.token_hex(6)}",
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "defaultClientScopes": ["basic", "agent-runtime-service-account"],
        "optionalClientScopes": [],
        **changed,
    }
    url = f"{attacker.keycloak.issuer}/clients-registrations/default"
    return attacker.http.post(url, json=body)


def mapper(kind: str, **config: str) -> dict[str, Any]:
    return {"name": "m", "protocol": "openid-connect", "protocolMapper": kind, "config": config}


FORGERIES = {
    "a role": mapper("oidc-hardcoded-role-mapper", role="admin"),
    "a tenant": mapper(
        "oidc-hardcoded-claim-mapper",
        **{"claim.name": "tenant_id", "claim.value": "acme", "access.token.claim": "true"},
    ),
    "an attribute": mapper("oidc-usermodel-attribute-mapper", **{"user.attribute": "tenant_id"}),
    "an audience": mapper("oidc-audience-mapper", **{"included.custom.audience": "realm-management"}),
    "roles": mapper("oidc-usermodel-realm-role-mapper", **{"claim.name": "realm_access.roles"}),
    "a script": mapper("script-mapper", script="1"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_registered_client_forges_no_claim(attacker: Attacker, forgery: str) -> None:
    assert register(attacker, protocolMappers=[FORGERIES[forgery]]).status_code == 403
    client = made(register(attacker))
    changed = change(attacker, client, protocolMappers=[FORGERIES[forgery]])
    assert changed.status_code == 403, changed.text


def change(attacker: Attacker, client: dict[str, Any], **changed: Any) -> httpx.Response:
    url = f"{attacker.keycloak.issuer}/clients-registrations/default/{client['clientId']}"
    headers = {"Authorization": f"Bearer {client['registrationAccessToken']}"}
    kept = {name: value for name, value in client.items() if name != "registrationAccessToken"}
    return attacker.http.put(url, json=kept | changed, headers=headers)


@pytest.mark.parametrize("scope", ["roles", "profile", "offline_access", "microprofile-jwt"])
def test_a_registered_client_gets_no_further_scope(attacker: Attacker, scope: str) -> None:
    assert register(attacker, defaultClientScopes=["basic", scope]).status_code == 403
    assert register(attacker, optionalClientScopes=[scope]).status_code == 403


def test_a_registered_client_gets_no_full_scope(attacker: Attacker) -> None:
    client = made(register(attacker, fullScopeAllowed=True))
    assert client["fullScopeAllowed"] is False
    assert change(attacker, client, fullScopeAllowed=True).status_code == 403


def test_no_other_client_is_reached_by_registration(attacker: Attacker) -> None:
    client = made(register(attacker))
    for token in (client["registrationAccessToken"], attacker.http.headers["authorization"].split()[1]):
        for other in ("agent-runtime-console", "agent-runtime-cli", "realm-management", PROVISIONER):
            url = f"{attacker.keycloak.issuer}/clients-registrations/default/{other}"
            headers = {"Authorization": f"Bearer {token}"}
            for method in ("GET", "PUT", "DELETE"):
                body = {"clientId": other, "fullScopeAllowed": True} if method == "PUT" else None
                answer = attacker.http.request(method, url, json=body, headers=headers)
                assert answer.status_code in (401, 403), (method, other, answer.text)
    assert register(attacker, clientId="agent-runtime-console").status_code == 400
    assert change(attacker, client, clientId="agent-runtime-cli").status_code == 400


def test_nobody_registers_without_a_token(attacker: Attacker) -> None:
    bodies = {"default": {"clientId": "mine"}, "openid-connect": {"redirect_uris": ["https://evil.example/"]}}
    for provider, body in bodies.items():
        url = f"{attacker.keycloak.issuer}/clients-registrations/{provider}"
        answer = httpx.post(url, json=body, trust_env=False)
        assert answer.status_code in (401, 403), answer.text


def test_a_client_that_we_do_not_know_acts_for_nobody(attacker: Attacker, api: str) -> None:
    client = made(register(attacker))
    form = {"grant_type": "client_credentials", "client_id": client["clientId"], "client_secret": client["secret"]}
    token = attacker.keycloak.token(form)["access_token"]
    claims = jwt.get_unverified_claims(token)
    assert claims["aud"] == "agent-runtime-api"
    assert not {"tenant_id", "realm_access", "resource_access"} & claims.keys()
    with asking(api, token) as http:
        for path in ("/v1/runs", "/v1/tenants", "/v1/users"):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_who_signs_in_at_a_registered_client_lends_it_nothing(attacker: Attacker, api: str) -> None:
    """The worst that can be registered: a page of the attacker's, at which an administrator signs in by password."""
    for scopes in ({}, {"defaultClientScopes": None, "optionalClientScopes": None}):
        asked = {
            "publicClient": True,
            "serviceAccountsEnabled": False,
            "standardFlowEnabled": True,
            "directAccessGrantsEnabled": True,
            "redirectUris": ["https://evil.example/*"],
        }
        client = made(register(attacker, **asked, **scopes))
        for username in ("dev-admin", "acme-operator"):
            form = {
                "grant_type": "password",
                "client_id": client["clientId"],
                "username": username,
                "password": attacker.keycloak.password,
            }
            token = attacker.keycloak.token(form)["access_token"]
            claims = jwt.get_unverified_claims(token)
            assert not {"tenant_id", "resource_access"} & claims.keys()
            assert not claims.get("realm_access", {}).get("roles")
            with asking(api, token) as http:
                assert http.get("/v1/tenants").status_code in (401, 403)
                assert http.get("/v1/runs").status_code in (401, 403)
            admin = f"{attacker.keycloak.url}/admin/realms/agent-runtime/users"
            headers = {"Authorization": f"Bearer {token}"}
            assert httpx.get(admin, headers=headers, trust_env=False).status_code in (401, 403)


def test_a_person_at_a_service_accounts_client_is_not_the_account(ground: Ground, attacker: Attacker, api: str) -> None:
    """The account's tenant and role are its own: nobody gets them by signing in at its client."""
    operator = ground.operator_of(ground.tenant())
    account = made(operator.post("/v1/service-accounts", json={"name": "ci", "role": "operator"}))
    with attacker.keycloak.admin() as root:
        client = root.get("/clients", params={"clientId": account["client_id"]}).json()[0]
        changed = {**client, "directAccessGrantsEnabled": True}
        root.put(f"/clients/{client['id']}", json=changed).raise_for_status()
    form = {
        "grant_type": "password",
        "client_id": account["client_id"],
        "client_secret": account["client_secret"],
        "username": "acme-user",
        "password": attacker.keycloak.password,
    }
    with asking(api, attacker.keycloak.token(form)["access_token"]) as http:
        assert http.get("/v1/agents").status_code == 403


def test_a_service_accounts_client_opens_no_page(ground: Ground, keycloak: Keycloak) -> None:
    operator = ground.operator_of(ground.tenant())
    account = made(operator.post("/v1/service-accounts", json={"name": "ci"}))
    query = {"client_id": account["client_id"], "response_type": "code", "redirect_uri": "https://evil.example/"}
    answer = httpx.get(f"{keycloak.issuer}/protocol/openid-connect/auth", params=query, trust_env=False)
    assert answer.status_code >= 400 or "code" not in parse_qs(urlsplit(answer.headers.get("location", "")).query)
