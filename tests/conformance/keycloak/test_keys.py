"""Keys of a real Keycloak: rotated in all steps, under a flood, withdrawn, and kept while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from jose import jwt

from libs.domain.errors import Unauthenticated
from services.api import keys as keys_module
from services.api.authentication import TokenVerifier
from services.api.keys import KeySet
from tests.conformance.keycloak.conftest import Believe, believing, settings_of
from tests.conformance.keycloak.issuers import RealIssuer
from tests.conformance.keycloak.server import Keycloak

PROVIDER = "org.keycloak.keys.KeyProvider"


class KeyRing:
    """The realm's key providers, as an administrator rotates them."""

    def __init__(self, admin: httpx.Client) -> None:
        self._admin = admin
        self._realm = admin.get("").json()["id"]

    def add(self, priority: int) -> dict[str, Any]:
        """A further key that signs before all of a lower priority."""
        config = {"priority": [str(priority)], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"]}
        provider = {
            "name": f"rotated-{uuid4()}",
            "providerId": "rsa-generated",
            "providerType": PROVIDER,
            "parentId": self._realm,
            "config": config,
        }
        answer = self._admin.post("/components", json=provider)
        assert answer.status_code == 201, answer.text
        return {**provider, "id": answer.headers["location"].rpartition("/")[2]}

    def signing(self) -> dict[str, Any]:
        """The provider that signs now."""
        found = self._admin.get("/keys").json()
        active = next(key for key in found["keys"] if key["kid"] == found["active"]["RS256"])
        provider: dict[str, Any] = self._admin.get(f"/components/{active['providerId']}").json()
        return provider

    def change(self, provider: dict[str, Any], **config: str) -> None:
        changed = {**provider["config"], **{name: [value] for name, value in config.items()}}
        answer = self._admin.put(f"/components/{provider['id']}", json={**provider, "config": changed})
        assert answer.status_code == 204, answer.text


@pytest.fixture
def issuer(real: RealIssuer) -> RealIssuer:
    """Keycloak alone: the embedded issuer has one key as long as its state directory."""
    return real


@pytest.fixture
def ring(keycloak: Keycloak) -> Any:
    with keycloak.admin() as admin:
        yield KeyRing(admin)


@pytest.fixture
async def fresh(real: RealIssuer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeySet]:
    """Keys as `main` keeps them, with a cache time of a second."""
    monkeypatch.setattr(keys_module, "REFRESH_SECONDS", 1.0)
    keys = KeySet(settings_of(real))
    task = asyncio.create_task(keys.keep_fresh())
    yield keys
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await keys.close()


def token_of(real: RealIssuer) -> str:
    return str(real.password(real.people["user"])["access_token"])


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def seconds_until(believe: Believe, token: str) -> float:
    began = time.monotonic()
    while True:
        try:
            await believe(token)
            return time.monotonic() - began
        except Unauthenticated:
            assert time.monotonic() - began < 30
            await asyncio.sleep(0.05)


async def test_every_step_of_a_rotation(real: RealIssuer, ring: KeyRing, fresh: KeySet) -> None:
    believe = believing(TokenVerifier(fresh, real.url, "agent-runtime-api"))
    old_provider, old = ring.signing(), token_of(real)
    await believe(old)
    ring.add(priority=int(time.time()))
    new = token_of(real)
    assert kid(new) != kid(old), "Keycloak signs with the new key at once"
    assert await seconds_until(believe, new) < 2
    await believe(old)
    ring.change(old_provider, active="false")
    await asyncio.sleep(1.5)
    await believe(old)
    await believe(old)  # now it is in the cache of verified tokens, whose entry dies with the key
    ring.change(old_provider, enabled="false")
    await asyncio.sleep(2)
    with pytest.raises(Unauthenticated, match="does not publish"):
        await believe(old)
    await believe(new)


async def test_a_rotated_key_under_a_flood(
    real: RealIssuer, ring: KeyRing, keys: KeySet, believe: Believe, monkeypatch: pytest.MonkeyPatch
) -> None:
    await believe(token_of(real))
    head = "eyJhbGciOiJSUzI1NiIsImtpZCI6"  # {"alg":"RS256","kid":
    fetches: list[float] = []
    fetch = keys._fetch

    async def counted() -> None:
        fetches.append(time.monotonic())
        await fetch()

    monkeypatch.setattr(keys, "_fetch", counted)
    flooding = asyncio.Event()

    async def flood() -> None:
        while not flooding.is_set():
            with pytest.raises(Unauthenticated):
                await believe(f"{head}{'IngifQ'}.e30.eA")
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(flood()) for _ in range(4)]
    await asyncio.sleep(6)  # what may be fetched soon after each other has been
    ring.add(priority=int(time.time()) + 1000)
    taken = await seconds_until(believe, token_of(real))
    flooding.set()
    await asyncio.gather(*tasks)
    assert taken < 10
    assert len(fetches) <= 7, "a flood costs the issuer next to nothing"


async def test_keys_are_kept_while_keycloak_is_away(real: RealIssuer, keycloak: Keycloak, fresh: KeySet) -> None:
    believe = believing(TokenVerifier(fresh, real.url, "agent-runtime-api"))
    first, second = token_of(real), token_of(real)
    await believe(first)
    keycloak.pause()
    try:
        await asyncio.sleep(1.5)
        assert fresh.failure
        await believe(first)
        assert (await believe(second)).tenant == "acme", "a token that was never seen is verified without Keycloak"
    finally:
        keycloak.resume()
    await believe(token_of(real))
