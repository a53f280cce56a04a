"""Clients of service accounts in Keycloak, made by its registration service, whose policies keep them harmless.

The provisioning client may register clients and nothing more: it cannot see, change or delete one afterwards. What can
is a token that the registration answers with, good for this one client, and replaced at each use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from libs.clients.keycloak import Keycloak

SCOPE = "agent-runtime-service-account"  # brings our audience, and no role


@dataclass(frozen=True)
class Registered:
    """A client; `manage_token` changes or deletes it, once."""

    client_id: str
    secret: str = field(repr=False)
    manage_token: str = field(repr=False)

    @classmethod
    def read(cls, content: dict[str, Any]) -> Registered:
        return cls(str(content["clientId"]), str(content["secret"]), str(content["registrationAccessToken"]))


def _wanted(name: str, client_id: str) -> dict[str, Any]:
    return {
        "clientId": client_id,
        "name": name,
        "protocol": "openid-connect",
        "publicClient": False,
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "fullScopeAllowed": False,
        "redirectUris": [],
        "webOrigins": [],
        # Named too, or the first change would take it away: with it a token says that the client itself is its subject.
        "defaultClientScopes": ["basic", SCOPE, "service_account"],
        "optionalClientScopes": [],
    }


async def register(keycloak: Keycloak, client_id: str, name: str) -> Registered:
    """Make a client whose tokens name nothing but itself. Raises `InvalidRequest`: the id is taken."""
    return Registered.read((await keycloak.registration("POST", body=_wanted(name, client_id))).content)


async def rotate(keycloak: Keycloak, client: Registered, name: str) -> Registered:
    """Give the client the secret of `client`; the one before is refused from now on."""
    body = {**_wanted(name, client.client_id), "secret": client.secret}
    answer = await keycloak.registration("PUT", client.client_id, body=body, token=client.manage_token)
    return Registered.read({"secret": client.secret, **answer.content})


async def delete(keycloak: Keycloak, client_id: str, manage_token: str) -> None:
    await keycloak.registration("DELETE", client_id, token=manage_token)
