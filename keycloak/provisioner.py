"""The few rights of `agent-runtime-provisioner`: it makes and keeps users of tenants, and can do nothing else.

`manage-users` would let it give anybody the role `admin`, `manage-clients` would let it forge any claim. Instead it has
`query-users` and fine-grained permissions (version 2): over the members of the group /tenants, and over two roles. No
import carries them: they name ids.
"""

from __future__ import annotations

from typing import Any

from keycloak.admin import Admin

CLIENT = "agent-runtime-provisioner"
GROUP = "tenants"
ROLES = ("operator", "user")
POLICY = "agent-runtime-provisioner"
# name -> (type, scopes). Never `manage-group-membership` of users: with it, it could take any user into its group.
PERMISSIONS = {
    "agent-runtime-provisioner: members of /tenants": (
        "Groups",
        ["manage-members", "manage-membership", "view", "view-members"],
    ),
    "agent-runtime-provisioner: operator and user": ("Roles", ["map-role"]),
    "agent-runtime-provisioner: give users roles": ("Users", ["map-roles"]),
}


def grant(admin: Admin, realm: str) -> list[str]:
    """Make the permissions, or bring them back to what they should be; says what was changed."""
    account = client(admin, realm, CLIENT)["id"]
    user = admin.get(f"/{realm}/clients/{account}/service-account-user")
    server = f"/{realm}/clients/{client(admin, realm, 'admin-permissions')['id']}/authz/resource-server"
    resources: dict[str, list[str]] = {
        "Groups": [admin.get(f"/{realm}/group-by-path/{GROUP}")["id"]],
        "Roles": [admin.get(f"/{realm}/roles/{role}")["id"] for role in ROLES],
        "Users": [],
    }
    said, policy = _policy(admin, server, user["id"])
    for name, (kind, scopes) in PERMISSIONS.items():
        wanted = {
            "name": name,
            "resourceType": kind,
            "scopes": scopes,
            "policies": [policy],
            "logic": "POSITIVE",
            "decisionStrategy": "UNANIMOUS",
        }
        if resources[kind]:
            wanted["resources"] = resources[kind]
        said += _permission(admin, server, wanted)
    return said


def client(admin: Admin, realm: str, client_id: str) -> Any:
    """A client of the realm by its public id."""
    found = admin.get(f"/{realm}/clients", clientId=client_id)
    if not found:
        raise LookupError(f"the realm {realm} has no client {client_id}")
    return found[0]


def _policy(admin: Admin, server: str, user: str) -> tuple[list[str], str]:
    """A policy for the client's own user: one for the client fails where users are looked up by path."""
    wanted = {"name": POLICY, "users": [user], "logic": "POSITIVE"}
    found = admin.find(f"{server}/policy/search", name=POLICY)
    if not found:
        return [f"policy {POLICY}: made"], str(admin.post(f"{server}/policy/user", wanted)["id"])
    known = admin.get(f"{server}/policy/user/{found['id']}")
    if known["users"] == [user] and known["logic"] == "POSITIVE":
        return [], str(found["id"])
    admin.put(f"{server}/policy/user/{found['id']}", {**known, **wanted})
    return [f"policy {POLICY}: set right"], str(found["id"])


def _permission(admin: Admin, server: str, wanted: dict[str, Any]) -> list[str]:
    found = admin.find(f"{server}/permission/search", name=wanted["name"])
    if not found:
        admin.post(f"{server}/permission/scope", wanted)
        return [f"permission {wanted['name']}: made"]
    one = f"{server}/policy/{found['id']}"
    scopes = sorted(scope["name"] for scope in admin.get(f"{one}/scopes"))
    policies = [policy["id"] for policy in admin.get(f"{one}/associatedPolicies")]
    covered = sorted(resource["name"] for resource in admin.get(f"{one}/resources"))
    expected = sorted(wanted.get("resources", [wanted["resourceType"]]))
    same = scopes == wanted["scopes"] and policies == wanted["policies"] and covered == expected
    if same and found["logic"] == "POSITIVE":
        return []
    admin.put(f"{server}/permission/scope/{found['id']}", {**wanted, "id": found["id"]})
    return [f"permission {wanted['name']}: set right"]
