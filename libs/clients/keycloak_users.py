"""Users of tenants in Keycloak: found, made, given a role, locked out, removed; whose they are, the caller looks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from libs.clients.keycloak import Keycloak
from libs.domain.errors import NotFound

GROUP = "/tenants"
ATTRIBUTE = "tenant_id"
ROLES = ("operator", "user")
FIRST_SIGN_IN = "UPDATE_PASSWORD"


@dataclass(frozen=True)
class User:
    """`tenants` are the values of the attribute that becomes the claim `tenant_id`."""

    id: str
    username: str
    email: str | None
    first_name: str | None
    last_name: str | None
    enabled: bool
    tenants: tuple[str, ...]
    pending: bool  # it has a temporary password and never signed in
    created_at: datetime | None

    @classmethod
    def read(cls, found: dict[str, Any]) -> User:
        created = found.get("createdTimestamp")
        return cls(
            id=str(found["id"]),
            username=str(found.get("username", "")),
            email=found.get("email"),
            first_name=found.get("firstName"),
            last_name=found.get("lastName"),
            enabled=bool(found.get("enabled")),
            tenants=tuple((found.get("attributes") or {}).get(ATTRIBUTE, ())),
            pending=FIRST_SIGN_IN in (found.get("requiredActions") or ()),
            created_at=datetime.fromtimestamp(created / 1000, UTC) if created else None,
        )

    def of(self, names: Iterable[str]) -> bool:
        """Whether it is of the tenant of these names, and of no other."""
        return bool(self.tenants) and set(self.tenants) <= set(names)


async def create(
    keycloak: Keycloak, tenant: str, username: str, password: str, first_name: str | None, last_name: str | None
) -> str:
    """Make a user of a tenant with a temporary password; its id. Raises `Conflict`: the name is taken."""
    body: dict[str, Any] = {
        "username": username,
        "email": username,
        "enabled": True,
        "groups": [GROUP],
        "attributes": {ATTRIBUTE: [tenant]},
        "credentials": [{"type": "password", "value": password, "temporary": True}],
    }
    names = {"firstName": first_name, "lastName": last_name}
    answer = await keycloak.admin("POST", "/users", body=body | {key: name for key, name in names.items() if name})
    return answer.location.rpartition("/")[2]


async def find(keycloak: Keycloak, username: str) -> User | None:
    """By its whole name; None also when it is nobody whom this client may see."""
    params = {"username": username, "exact": "true", "briefRepresentation": "false"}
    found = (await keycloak.admin("GET", "/users", params=params)).content
    return User.read(found[0]) if found else None


async def get(keycloak: Keycloak, user_id: str) -> User | None:
    """By id; None also when it is nobody whom this client may see."""
    found = await _representation(keycloak, user_id)
    return User.read(found) if found else None


async def page(keycloak: Keycloak, tenant: str, first: int, limit: int) -> list[User]:
    """Users whose attribute names the tenant exactly so, from a position on."""
    params = {"q": f"{ATTRIBUTE}:{tenant}", "first": first, "max": limit, "briefRepresentation": "false"}
    found = (await keycloak.admin("GET", "/users", params=params)).content
    return [User.read(each) for each in found]


async def role_of(keycloak: Keycloak, user_id: str) -> str | None:
    """The greater of our roles that the user was given."""
    found = (await keycloak.admin("GET", f"/users/{quote(user_id, safe='')}/role-mappings/realm")).content
    names = {role["name"] for role in found}
    return next((role for role in ROLES if role in names), None)


async def give_role(keycloak: Keycloak, user_id: str, role: str) -> None:
    """Harmless when the user has it."""
    path = f"/users/{quote(user_id, safe='')}/role-mappings/realm"
    given = (await keycloak.admin("GET", path)).content
    if any(each["name"] == role for each in given):
        return
    offered = (await keycloak.admin("GET", f"{path}/available")).content
    chosen = [{"id": each["id"], "name": each["name"]} for each in offered if each["name"] == role]
    if not chosen:
        raise NotFound(f"Keycloak does not offer the role {role} to its provisioning client.")
    await keycloak.admin("POST", path, body=chosen)


async def reset(keycloak: Keycloak, user_id: str, password: str) -> None:
    """Let a user in again with a temporary password."""
    path = f"/users/{quote(user_id, safe='')}"
    await keycloak.admin(
        "PUT", f"{path}/reset-password", body={"type": "password", "value": password, "temporary": True}
    )
    await _enable(keycloak, user_id, True)


async def disable(keycloak: Keycloak, user_id: str) -> None:
    """No new tokens, and no session goes on."""
    await _enable(keycloak, user_id, False)
    await keycloak.admin("POST", f"/users/{quote(user_id, safe='')}/logout")


async def delete(keycloak: Keycloak, user_id: str) -> None:
    await keycloak.admin("DELETE", f"/users/{quote(user_id, safe='')}")


async def _enable(keycloak: Keycloak, user_id: str, enabled: bool) -> None:
    """With the whole representation: one without attributes would erase the tenant."""
    found = await _representation(keycloak, user_id)
    if found is None:
        raise NotFound("There is no such user.")
    if found.get("enabled") != enabled:
        await keycloak.admin("PUT", f"/users/{quote(user_id, safe='')}", body={**found, "enabled": enabled})


async def _representation(keycloak: Keycloak, user_id: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = (await keycloak.admin("GET", f"/users/{quote(user_id, safe='')}")).content
    except NotFound:
        return None
    return found
