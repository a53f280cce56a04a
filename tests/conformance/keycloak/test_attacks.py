"""A user who tries to choose a tenant or a role, with everything that Keycloak lets a user do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from libs.domain.errors import Unauthenticated
from tests.conformance.keycloak.conftest import Believe
from tests.conformance.keycloak.issuers import RealIssuer
from tests.conformance.keycloak.server import Keycloak

SPELLINGS = ("tenant_id", "tenantId", "TENANT_ID", "tenant_id ", "tenant-id", "claims.tenant_id", "tenant_id\u200b")


class Account:
    """What a user does with a profile of their own: the account API, with a token of the account console's kind."""

    def __init__(self, real: RealIssuer, keycloak: Keycloak, who: str) -> None:
        self._real, self._person = real, real.people[who]
        form = {"grant_type": "password", "client_id": "admin-cli", "scope": "openid"}
        credentials = {"username": self._person.username, "password": self._person.password}
        self._url = f"{real.url}/account"
        token = keycloak.token({**form, **credentials})["access_token"]
        self.token: str = token
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self.http = httpx.Client(headers=headers, timeout=30, trust_env=False)

    def profile(self) -> dict[str, Any]:
        answer = self.http.get(self._url)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def change(self, **attributes: list[str]) -> httpx.Response:
        profile = self.profile()
        return self.http.post(self._url, json={**profile, "attributes": {**profile["attributes"], **attributes}})

    def access_token(self) -> str:
        return str(self._real.password(self._person)["access_token"])


@pytest.fixture
def issuer(real: RealIssuer) -> RealIssuer:
    """Keycloak alone: the embedded issuer lets nobody edit a profile."""
    return real


@pytest.fixture
def account(real: RealIssuer, keycloak: Keycloak) -> Iterator[Account]:
    found = Account(real, keycloak, "user")
    yield found
    found.http.close()


async def test_a_user_does_not_choose_a_tenant(account: Account, believe: Believe) -> None:
    assert account.change(tenant_id=["globex"]).status_code == 400
    assert account.change(tenant_id=[]).status_code == 400
    for name in SPELLINGS[1:]:
        account.change(**{name: ["globex"]})
        assert name not in account.profile()["attributes"]
    identity = await believe(account.access_token())
    assert (identity.tenant, identity.roles) == ("acme", frozenset({"user"}))


def test_an_email_is_not_for_users_to_choose(account: Account) -> None:
    profile = account.profile()
    changed = account.http.post(account._url, json={**profile, "email": "globex-operator@globex.example"})
    assert changed.status_code == 400
    assert account.profile()["email"] == profile["email"]


async def test_an_open_profile_is_a_hole_and_the_update_closes_it(
    account: Account, keycloak: Keycloak, believe: Believe
) -> None:
    """The attack works where the profile is left open; so the test above can fail."""
    with keycloak.admin() as admin:
        profile = admin.get("/users/profile").json()
        attributes = [each for each in profile["attributes"] if each["name"] != "tenant_id"]
        opened = {**profile, "attributes": attributes, "unmanagedAttributePolicy": "ENABLED"}
        assert admin.put("/users/profile", json=opened).status_code == 200
    assert account.change(tenant_id=["globex"]).status_code < 300
    assert (await believe(account.access_token())).tenant == "globex"
    assert account.change(tenant_id=["acme"]).status_code < 300
    keycloak.update()
    assert account.change(tenant_id=["globex"]).status_code == 400
    assert (await believe(account.access_token())).tenant == "acme"


async def test_tokens_of_other_clients_are_none(account: Account, believe: Believe) -> None:
    """Every realm has clients of Keycloak's own; what they give is not for our audience."""
    with pytest.raises(Unauthenticated):
        await believe(account.token)


async def test_a_scope_adds_no_role(account: Account, believe: Believe, real: RealIssuer) -> None:
    person = real.people["user"]
    for scope in ("openid operator admin", "openid roles microprofile-jwt", "openid offline_access"):
        form = {"grant_type": "password", "client_id": "test-password", "scope": scope}
        answer = real.endpoints.token(**form, username=person.username, password=person.password)
        if answer.status_code == 200:
            roles = (await believe(answer.json()["access_token"])).roles
            assert roles & {"admin", "operator", "user"} == {"user"}


def test_a_user_administers_nothing(account: Account, keycloak: Keycloak, real: RealIssuer) -> None:
    headers = {"Authorization": f"Bearer {account.access_token()}"}
    admin = f"{keycloak.url}/admin/realms/agent-runtime"
    with httpx.Client(headers=headers, timeout=30, trust_env=False) as http:
        for path in ("", "/users", "/clients", "/roles", "/groups", "/components"):
            assert http.get(f"{admin}{path}").status_code in (401, 403), path
        assert http.post(f"{admin}/users", json={"username": "eve", "enabled": True}).status_code in (401, 403)


async def test_the_administrator_of_the_platform_has_no_tenant(real: RealIssuer, believe: Believe) -> None:
    identity = await believe(real.password(real.people["admin"])["access_token"])
    assert (identity.roles, identity.tenant) == (frozenset({"admin"}), None)
