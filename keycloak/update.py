"""Brings an installed realm up to date, or makes it: what is missing is added, and nobody's account is touched.

Never `ifResourceExists=OVERWRITE`: users would get a new `sub`, scope mappings would vanish. What an administrator may
choose (lifetimes of sessions, events, texts, further clients and roles) stays as it is.
"""

from __future__ import annotations

from typing import Any

from keycloak import provisioner, registration
from keycloak.admin import Admin
from keycloak.profile import correct_profile

# What the platform relies on; the rest of the realm's settings belongs to its administrator.
SETTINGS = (
    "accessTokenLifespan",
    "adminPermissionsEnabled",
    "bruteForceProtected",
    "defaultSignatureAlgorithm",
    "editUsernameAllowed",
    "refreshTokenMaxReuse",
    "registrationAllowed",
    "revokeRefreshToken",
)
CLIENT_SETTINGS = (
    "directAccessGrantsEnabled",
    "fullScopeAllowed",
    "implicitFlowEnabled",
    "publicClient",
    "serviceAccountsEnabled",
    "standardFlowEnabled",
)


def update(admin: Admin, document: dict[str, Any]) -> list[str]:
    """Make the realm as the document says; says what was changed, nothing when nothing was."""
    realm = document["realm"]
    made = admin.find(f"/{realm}") is None
    said = [f"realm {realm}: made"] if made else []
    if made:
        admin.post("", document)
    else:
        said += _settings(admin, realm, document)
        said += add(admin, realm, {name: document[name] for name in ("roles", "clients", "groups")})
        said += correct_profile(admin, realm, document)
        said += _composites(admin, realm, document)
        for client in document["clients"]:
            said += _client(admin, realm, client)
        said += _scopes(admin, realm, document)
        said += _service_accounts(admin, realm, document)
    return said + provisioner.grant(admin, realm) + registration.allow(admin, realm)


def add(admin: Admin, realm: str, resources: dict[str, Any]) -> list[str]:
    """Add what is not there of roles, clients, groups or users; what is there stays as it is."""
    done = admin.post(f"/{realm}/partialImport", {**resources, "ifResourceExists": "SKIP"})
    results = done.get("results", [])
    return [
        f"{each['resourceType'].lower()} {each['resourceName']}: made" for each in results if each["action"] == "ADDED"
    ]


def warnings(admin: Admin, realm: str) -> list[str]:
    """What is dangerous and is not for a program to decide."""
    found = []
    for role in admin.get(f"/{realm}/roles/default-roles-{realm}/composites"):
        if role["name"] in ("admin", "operator", "user"):
            found.append(f"everybody who registers gets the role {role['name']}: take it out of the default roles")
    if admin.get(f"/{realm}/roles/admin/composites"):
        found.append("the role admin includes others: an administrator would pass for an operator")
    client = provisioner.client(admin, realm, provisioner.CLIENT)
    user = admin.get(f"/{realm}/clients/{client['id']}/service-account-user")
    mappings = admin.get(f"/{realm}/users/{user['id']}/role-mappings")
    theirs = [role["name"] for each in mappings.get("clientMappings", {}).values() for role in each["mappings"]]
    theirs += [role["name"] for role in mappings.get("realmMappings", [])]
    if more := sorted(set(theirs) - {"query-users", registration.ROLE}):
        found.append(f"{provisioner.CLIENT} has roles that it must not have: {', '.join(more)}")
    return found


def _settings(admin: Admin, realm: str, document: dict[str, Any]) -> list[str]:
    current = admin.get(f"/{realm}")
    changed = {name: document[name] for name in SETTINGS if current.get(name) != document[name]}
    if changed:
        admin.put(f"/{realm}", changed)
    return [f"setting {name}: {value}" for name, value in changed.items()]


def _composites(admin: Admin, realm: str, document: dict[str, Any]) -> list[str]:
    said = []
    for role in document["roles"]["realm"]:
        wanted = set(role.get("composites", {}).get("realm", []))
        missing = wanted - {each["name"] for each in admin.get(f"/{realm}/roles/{role['name']}/composites")}
        if missing:
            admin.post(f"/{realm}/roles/{role['name']}/composites", _roles(admin, realm, missing))
            said.append(f"role {role['name']}: includes {', '.join(sorted(missing))}")
    return said


def _client(admin: Admin, realm: str, wanted: dict[str, Any]) -> list[str]:
    """Its flows, its redirect addresses and its mappers; its secret is never touched."""
    name = wanted["clientId"]
    current = provisioner.client(admin, realm, name)
    changed = {key: wanted[key] for key in CLIENT_SETTINGS if current.get(key) != wanted[key]}
    for key in ("redirectUris", "webOrigins"):
        if missing := [uri for uri in wanted[key] if uri not in current[key]]:
            changed[key] = [*current[key], *missing]
    attributes = {key: value for key, value in wanted["attributes"].items() if current["attributes"].get(key) != value}
    # What may follow a logout is a list of its own making; a further address of an administrator's stays.
    attributes.pop("post.logout.redirect.uris", None)
    if attributes:
        changed["attributes"] = {**current["attributes"], **attributes}
    if changed:
        # Whole: of a part, Keycloak makes up the rest (origins from redirect addresses).
        admin.put(f"/{realm}/clients/{current['id']}", {**current, **changed})
    said = [f"client {name}: {key} set right" for key in changed]
    known = {mapper["name"] for mapper in current.get("protocolMappers", [])}
    for mapper in wanted.get("protocolMappers", []):
        if mapper["name"] not in known:
            admin.post(f"/{realm}/clients/{current['id']}/protocol-mappers/models", mapper)
            said.append(f"client {name}: mapper {mapper['name']} made")
    return said


def _scopes(admin: Admin, realm: str, document: dict[str, Any]) -> list[str]:
    """Which roles may stand in a client's tokens: a partial import leaves them out."""
    said = []
    for mapping in document["scopeMappings"]:
        path = f"/{realm}/clients/{provisioner.client(admin, realm, mapping['client'])['id']}/scope-mappings/realm"
        missing = set(mapping["roles"]) - {role["name"] for role in admin.get(path)}
        if missing:
            admin.post(path, _roles(admin, realm, missing))
            said.append(f"client {mapping['client']}: tokens may hold {', '.join(sorted(missing))}")
    for owner, mappings in document["clientScopeMappings"].items():
        for mapping in mappings:
            client = provisioner.client(admin, realm, mapping["client"])["id"]
            said += _client_roles(
                admin, realm, owner, mapping["roles"], f"/{realm}/clients/{client}/scope-mappings", mapping["client"]
            )
    return said


def _service_accounts(admin: Admin, realm: str, document: dict[str, Any]) -> list[str]:
    said = []
    for user in document["users"]:
        if name := user.get("serviceAccountClientId"):
            client = provisioner.client(admin, realm, name)["id"]
            account = admin.get(f"/{realm}/clients/{client}/service-account-user")["id"]
            for owner, roles in user["clientRoles"].items():
                said += _client_roles(
                    admin, realm, owner, roles, f"/{realm}/users/{account}/role-mappings", user["username"]
                )
    return said


def _client_roles(admin: Admin, realm: str, owner: str, roles: list[str], path: str, whose: str) -> list[str]:
    holder = provisioner.client(admin, realm, owner)["id"]
    missing = set(roles) - {role["name"] for role in admin.get(f"{path}/clients/{holder}")}
    if not missing:
        return []
    admin.post(f"{path}/clients/{holder}", [admin.get(f"/{realm}/clients/{holder}/roles/{role}") for role in missing])
    return [f"{whose}: {owner} {', '.join(sorted(missing))}"]


def _roles(admin: Admin, realm: str, names: set[str]) -> list[Any]:
    return [admin.get(f"/{realm}/roles/{name}") for name in sorted(names)]
