"""How `agent-runtime-provisioner` may register clients for service accounts, and what keeps such clients harmless.

It has the role `create-client`, which opens the registration service and no other door: afterwards it can neither see
nor change nor delete a client, its own creations included; for that each registration answers with a token of its own.
What is registered is judged by policies: no mapper, so no claim but a client's own; no full scope, so no role of who
signs in; of the scopes only the one that names our audience. Policies come first, the role after them.
"""

from __future__ import annotations

from typing import Any

from keycloak.admin import Admin
from keycloak.provisioner import CLIENT, client

SCOPE = "agent-runtime-service-account"
AUDIENCE = "agent-runtime-api"
ROLE = "create-client"
POLICY = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
MOST_CLIENTS = "10000"
# provider -> (name, configuration), for those who register with a token; nobody registers without one.
POLICIES: dict[str, tuple[str, dict[str, list[str]]]] = {
    "allowed-protocol-mappers": ("Allowed Protocol Mapper Types", {}),
    "allowed-client-templates": (
        "Allowed Client Scopes",
        {"allow-default-scopes": ["false"], "allowed-client-scopes": ["basic", SCOPE, "service_account"]},
    ),
    "scope": ("Full Scope Disabled", {}),
    "max-clients": ("Max Clients Limit", {"max-clients": [MOST_CLIENTS]}),
}


def allow(admin: Admin, realm: str) -> list[str]:
    """Bring scope, policies and role to what they should be; says what was changed."""
    said = _scope(admin, realm)
    for provider, (name, config) in POLICIES.items():
        said += _policy(admin, realm, provider, name, config)
    said += _closed(admin, realm)
    return said + _role(admin, realm)


def _scope(admin: Admin, realm: str) -> list[str]:
    """With it, and nothing else, a service account's token has our audience."""
    if any(scope["name"] == SCOPE for scope in admin.get(f"/{realm}/client-scopes")):
        return []
    mapper = {
        "name": f"audience-{AUDIENCE}",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {
            "included.custom.audience": AUDIENCE,
            "access.token.claim": "true",
            "id.token.claim": "false",
            "introspection.token.claim": "true",
            "lightweight.claim": "false",
        },
    }
    content = {
        "name": SCOPE,
        "description": "Audience of the API for service accounts; their tenant and role are the API's to say",
        "protocol": "openid-connect",
        "attributes": {"include.in.token.scope": "false", "display.on.consent.screen": "false"},
        "protocolMappers": [mapper],
    }
    admin.post(f"/{realm}/client-scopes", content)
    return [f"client scope {SCOPE}: made"]


def _policy(admin: Admin, realm: str, provider: str, name: str, config: dict[str, list[str]]) -> list[str]:
    found = [each for each in _policies(admin, realm, "authenticated") if each["providerId"] == provider]
    if not found:
        admin.post(
            f"/{realm}/components",
            {
                "name": name,
                "providerId": provider,
                "providerType": POLICY,
                "subType": "authenticated",
                "parentId": admin.get(f"/{realm}")["id"],
                "config": config,
            },
        )
        return [f"registration policy {name}: made"]
    said = []
    for each in found:
        if _known(each) != _sorted(config):
            # An empty list is how Keycloak is told to keep none; it answers without the setting then.
            emptied: dict[str, list[str]] = {key: [] for key in each.get("config", {})}
            admin.put(f"/{realm}/components/{each['id']}", {**each, "config": {**emptied, **config}})
            said.append(f"registration policy {name}: set right")
    return said


def _closed(admin: Admin, realm: str) -> list[str]:
    """Who registers without a token needs a trusted host, and none is."""
    said = []
    for each in _policies(admin, realm, "anonymous"):
        if each["providerId"] == "trusted-hosts" and each.get("config", {}).get("trusted-hosts"):
            admin.put(f"/{realm}/components/{each['id']}", {**each, "config": {**each["config"], "trusted-hosts": []}})
            said.append("registration without a token: closed")
    return said


def _role(admin: Admin, realm: str) -> list[str]:
    holder = client(admin, realm, "realm-management")["id"]
    account = client(admin, realm, CLIENT)["id"]
    user = admin.get(f"/{realm}/clients/{account}/service-account-user")["id"]
    said = []
    for path in (f"/{realm}/users/{user}/role-mappings", f"/{realm}/clients/{account}/scope-mappings"):
        if not any(role["name"] == ROLE for role in admin.get(f"{path}/clients/{holder}")):
            admin.post(f"{path}/clients/{holder}", [admin.get(f"/{realm}/clients/{holder}/roles/{ROLE}")])
            said.append(f"{CLIENT}: {ROLE}")
    return said


def _policies(admin: Admin, realm: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = admin.get(f"/{realm}/components", type=POLICY)
    return [each for each in found if each["subType"] == kind]


def _known(policy: dict[str, Any]) -> dict[str, list[str]]:
    return _sorted({key: value for key, value in policy.get("config", {}).items() if value})


def _sorted(config: dict[str, list[str]]) -> dict[str, list[str]]:
    return {key: sorted(value) for key, value in config.items()}
