"""Provisioning at a real Keycloak meets the expectations that the embedded issuer meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from libs.database import service_accounts
from libs.database.engine import Database
from libs.settings.database import DatabaseSettings
from tests.conformance.keycloak.provisioning import clients_of, sign_in
from tests.conformance.keycloak.server import Keycloak
from tests.fixtures.platform import eventually
from tests.fixtures.stack import TestServers
from tests.integration.api import provisioning
from tests.integration.api.provisioning import Ground, email, made
from tests.integration.api.records import settings_from

# The first test starts Keycloak, the servers and an API.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("expectation", provisioning.EXPECTATIONS, ids=lambda each: each.__name__)
def test_provisioning(ground: Ground, expectation: Callable[[Ground], Any]) -> None:
    expectation(ground)


def test_an_invited_operator_signs_in_and_works(ground: Ground, keycloak: Keycloak) -> None:
    """With the temporary password, which Keycloak makes them replace; removed, they are out at both at once."""
    operator = provisioning.a_tenant_with_its_operator(ground)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        sign_in(keycloak, operator["username"], operator["temporary_password"])
    with keycloak.admin() as root:
        replace_password(root, operator["id"], "a-Password-of-alice-1")
    alice = ground.as_bearer(sign_in(keycloak, operator["username"], "a-Password-of-alice-1"))
    assert alice.get(f"/v1/tenants/{operator['slug']}").status_code == 200
    colleague = made(alice.post("/v1/users", json={"email": email(), "role": "operator"}))
    with keycloak.admin() as root:
        replace_password(root, colleague["id"], "a-Password-of-bob-12")
    bob = ground.as_bearer(sign_in(keycloak, colleague["username"], "a-Password-of-bob-12"))
    assert provisioning.one_of(bob, operator["id"])["status"] == "active"
    conflict = bob.post("/v1/users", json={"email": operator["username"], "role": "operator"})
    assert conflict.json()["code"] == "conflict", "who has signed in gets no new password by an invitation"
    assert bob.delete(f"/v1/users/{operator['id']}").status_code == 204
    provisioning.refused_soon(alice)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        sign_in(keycloak, operator["username"], "a-Password-of-alice-1")


def replace_password(root: httpx.Client, user: str, password: str) -> None:
    """As the user does at the first login."""
    body = {"type": "password", "value": password, "temporary": False}
    root.put(f"/users/{user}/reset-password", json=body).raise_for_status()


def test_users_of_another_tenant_are_not_touched(ground: Ground, keycloak: Keycloak) -> None:
    """Also those whom an administrator of Keycloak made, and administrators."""
    operator = ground.operator_of(ground.tenant())
    with keycloak.admin() as root:
        foreign = root.get("/users", params={"username": "acme-operator", "exact": "true"}).json()[0]
        boss = root.get("/users", params={"username": "dev-admin", "exact": "true"}).json()[0]
    for each in (foreign, boss):
        assert operator.delete(f"/v1/users/{each['id']}").status_code in (404, 503)
        if each["email"]:
            answer = operator.post("/v1/users", json={"email": each["email"]})
            assert answer.status_code == 409, answer.text
    sign_in(keycloak, "acme-operator", keycloak.password)
    sign_in(keycloak, "dev-admin", keycloak.password)


async def test_of_a_deleted_tenant_nobody_is_left_at_keycloak(
    ground: Ground, keycloak: Keycloak, servers: TestServers
) -> None:
    """Users and clients, also one whose deletion went half way; but who is not in the group is out of our reach."""
    slug = provisioning.a_tenant_with_its_operator(ground)["slug"]
    tenant = ground.admin.get(f"/v1/tenants/{slug}").json()["id"]
    operator, stranger = ground.operator_of(slug), ground.operator_of(ground.tenant())
    made(operator.post("/v1/users", json={"email": email()}))
    gone = [made(operator.post("/v1/service-accounts", json={"name": name}))["client_id"] for name in ("ci", "half")]
    await half_deleted(servers, UUID(tenant), "half")
    guest = made(stranger.post("/v1/users", json={"email": email()}))
    account = made(stranger.post("/v1/service-accounts", json={"name": "ci"}))

    def left() -> list[str]:
        with keycloak.admin() as root:
            users = [root.get("/users", params={"q": f"tenant_id:{name}"}).json() for name in (tenant, slug)]
        return [user["username"] for found in users for user in found] + sorted(set(gone) & set(clients_of(keycloak)))

    async def nobody_else_is_left() -> bool:
        return [name.partition("-")[0] for name in left()] == ["op"]

    assert len(left()) == 3 + len(gone)
    assert ground.admin.delete(f"/v1/tenants/{slug}").status_code == 202
    await eventually(nobody_else_is_left, 30)
    assert provisioning.one_of(stranger, guest["id"])["status"] == "invited"
    assert ground.acting(account).get("/v1/runs").status_code == 200


async def half_deleted(servers: TestServers, tenant: UUID, name: str) -> None:
    """As when Keycloak was away while a service account was deleted."""
    database = Database.open(settings_from(DatabaseSettings, servers.environment))
    async with database.tenant(tenant) as connection:
        assert await service_accounts.end(connection, name)
    await database.close()
