"""Keycloak's admin REST API as the client with few rights sees it: its token, its calls, and what goes wrong."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from libs.domain.errors import Conflict, DependencyUnavailable, InvalidRequest, NotFound
from libs.settings.keycloak import KeycloakSettings

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
# Of one process: whoever lists users again and again must not keep others from signing in. Who waits too long gets 503.
LIMITS = httpx.Limits(max_connections=8)
RENEW_SECONDS = 20.0  # before a token's end
RETRY_SECONDS = 5
LOG_IN_SECONDS = 10.0  # for a token, also for those who wait until somebody else has got one


class ClientRefused(DependencyUnavailable):
    """Keycloak does not let the provisioning client do this: its secret or its rights are wrong."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__("keycloak", detail, RETRY_SECONDS)
        self.status = status


class TokenSpent(Exception):
    """A client's manage token is not good any longer: it was used by a call whose answer was lost."""


@dataclass(frozen=True)
class Answered:
    """An answer that is no failure."""

    content: Any
    location: str


class Keycloak:
    """Calls as the provisioning client. No error holds a secret, a token or a body that was sent."""

    def __init__(self, settings: KeycloakSettings, secret: SecretStr, http: httpx.AsyncClient | None = None) -> None:
        verify = ssl.create_default_context(cafile=settings.oidc_ca_file) if settings.oidc_ca_file else True
        self._http = http or httpx.AsyncClient(verify=verify, timeout=TIMEOUT, limits=LIMITS, trust_env=False)
        self._admin = settings.admin_url
        self._realm = settings.admin_url.replace("/admin/realms/", "/realms/", 1)
        self._id = settings.keycloak_provisioner_id
        self._secret = secret
        self._token: tuple[float, str] = (0.0, "")
        self._renewing = asyncio.Lock()

    @classmethod
    def open(cls, settings: KeycloakSettings) -> Keycloak | None:
        """None without a secret: nothing is provisioned from here."""
        secret = settings.keycloak_provisioner_secret
        return None if secret is None else cls(settings, secret)

    @property
    def secret(self) -> bytes:
        """From which temporary passwords follow."""
        return self._secret.get_secret_value().encode()

    async def close(self) -> None:
        await self._http.aclose()

    async def admin(
        self, method: str, path: str, *, body: Any = None, params: dict[str, Any] | None = None
    ) -> Answered:
        """A call below the realm's administration.

        Raises:
            DependencyUnavailable: Keycloak is away, or does not let this client in.
            NotFound, Conflict, InvalidRequest: what it said.
        """
        return await self._call(method, f"{self._admin}{path}", await self._bearer(), body, params)

    async def registration(self, method: str, client_id: str = "", *, body: Any = None, token: str = "") -> Answered:
        """A call of the client registration service, with the token of one client or as this client. Raises alike."""
        path = f"/{client_id}" if client_id else ""
        url = f"{self._realm}/clients-registrations/default{path}"
        try:
            return await self._call(method, url, token or await self._bearer(), body, None)
        except ClientRefused as refusal:
            if token and refusal.status == 401:
                raise TokenSpent from None
            raise

    async def _call(self, method: str, url: str, bearer: str, body: Any, params: dict[str, Any] | None) -> Answered:
        headers = {"Authorization": f"Bearer {bearer}", "Accept": "application/json"}
        response = await self._send(method, url, headers=headers, json=body, params=params)
        if response.status_code < 300:
            content = response.json() if response.content else None
            return Answered(content, response.headers.get("location", ""))
        if response.status_code == 401:
            self._token = (0.0, "")
        raise _failure(response)

    async def _bearer(self) -> str:
        try:
            async with asyncio.timeout(LOG_IN_SECONDS), self._renewing:
                if self._token[0] < time.monotonic():
                    self._token = await self._log_in()
                return self._token[1]
        except TimeoutError:
            raise DependencyUnavailable("keycloak", "Keycloak gives no token in time.", RETRY_SECONDS) from None

    async def _log_in(self) -> tuple[float, str]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._id,
            "client_secret": self._secret.get_secret_value(),
        }
        began = time.monotonic()
        response = await self._send("POST", f"{self._realm}/protocol/openid-connect/token", data=form)
        if response.status_code != 200:
            raise ClientRefused(
                response.status_code,
                f"Keycloak does not let the provisioning client {self._id} in ({response.status_code}): "
                "KEYCLOAK_PROVISIONER_ID or KEYCLOAK_PROVISIONER_SECRET is wrong, or the realm has no such client.",
            )
        content = response.json()
        return began + float(content["expires_in"]) - RENEW_SECONDS, str(content["access_token"])

    async def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, url, **options)
        except httpx.HTTPError as error:
            detail = f"Keycloak does not answer ({type(error).__name__})."
            raise DependencyUnavailable("keycloak", detail, RETRY_SECONDS) from None
        if response.status_code >= 500:
            detail = f"Keycloak failed ({response.status_code})."
            raise DependencyUnavailable("keycloak", detail, RETRY_SECONDS)
        return response


def _failure(response: httpx.Response) -> Exception:
    status = response.status_code
    if status == 404:
        return NotFound("Keycloak has no such thing.")
    if status == 409:
        return Conflict("Keycloak has one of this name already.")
    if status == 400:
        return InvalidRequest(f"Keycloak does not take this: {_reason(response)}.")
    return ClientRefused(
        status,
        f"Keycloak does not let the provisioning client do this ({status}): "
        "bring its rights up to date with `python -m keycloak update`.",
    )


def _reason(response: httpx.Response) -> str:
    """The name of Keycloak's complaint, without the value that it complains about."""
    try:
        content = response.json()
    except ValueError:
        return "invalid"
    flaws = content.get("errors") if isinstance(content, dict) else None
    first = flaws[0] if isinstance(flaws, list) and flaws else content
    if not isinstance(first, dict):
        return "invalid"
    words = (first.get("field"), first.get("errorMessage") or first.get("error"))
    return " ".join(str(word)[:100] for word in words if isinstance(word, str)) or "invalid"
