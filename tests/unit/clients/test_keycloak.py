"""A Keycloak that hangs is told so to everybody in time."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from pydantic import SecretStr

from libs.clients import keycloak
from libs.clients.keycloak import Keycloak
from libs.domain.errors import DependencyUnavailable
from libs.settings.keycloak import KeycloakSettings


async def test_nobody_waits_for_those_who_wait_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.3)
        raise httpx.ReadTimeout("no answer")

    monkeypatch.setattr(keycloak, "LOG_IN_SECONDS", 0.5)
    settings = KeycloakSettings(oidc_issuer="http://k.example/realms/r", oidc_jwks_url="http://k.example/certs")
    client = Keycloak(settings, SecretStr("s"), httpx.AsyncClient(transport=httpx.MockTransport(hang)))
    began = time.monotonic()
    told = await asyncio.gather(*(client.admin("GET", "/users") for _ in range(10)), return_exceptions=True)
    assert all(isinstance(each, DependencyUnavailable) for each in told), told
    assert time.monotonic() - began < 2
    await client.close()
