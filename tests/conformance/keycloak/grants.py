"""How programs get tokens from an issuer, by its discovery document: device, code with PKCE, refresh, credentials."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from deploy.demo.browser import Browser
from deploy.embedded.sessions import challenge_of

CLI = "agent-runtime-cli"
CALLBACK = "http://127.0.0.1:4242/callback"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True)
class Person:
    """Somebody of a realm, and what a token of theirs has to say."""

    username: str
    password: str
    roles: frozenset[str]
    tenant: str | None


class Endpoints:
    """The endpoints of one issuer."""

    def __init__(self, issuer: str) -> None:
        self._http = httpx.Client(timeout=30, trust_env=False)
        self.discovery: dict[str, Any] = self._http.get(f"{issuer}/.well-known/openid-configuration").json()

    def token(self, **form: str) -> httpx.Response:
        return self._http.post(self.discovery["token_endpoint"], data=form)

    def tokens(self, **form: str) -> dict[str, Any]:
        """What the token endpoint gives; refused is an error."""
        answer = self.token(**form)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    def refresh(self, refresh_token: str, client: str = CLI) -> httpx.Response:
        return self.token(grant_type="refresh_token", client_id=client, refresh_token=refresh_token)

    def revoke(self, token: str, client: str = CLI) -> httpx.Response:
        return self._http.post(self.discovery["revocation_endpoint"], data={"token": token, "client_id": client})

    def ask_device(self, verifier: str) -> dict[str, Any]:
        form = {"client_id": CLI, "scope": "openid", "code_challenge": challenge_of(verifier)}
        answer = self._http.post(
            self.discovery["device_authorization_endpoint"], data={**form, "code_challenge_method": "S256"}
        )
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    def poll_device(self, device: dict[str, Any], verifier: str) -> httpx.Response:
        return self.token(
            grant_type=DEVICE_GRANT, client_id=CLI, device_code=device["device_code"], code_verifier=verifier
        )

    def device(self, person: Person) -> dict[str, Any]:
        """Tokens by the device flow, with a browser that says yes."""
        verifier = secrets.token_urlsafe(48)
        device = self.ask_device(verifier)
        with Browser() as browser:
            browser.confirm(device["verification_uri_complete"], person.username, person.password)
        answer = self.poll_device(device, verifier)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    def code(self, person: Person, scope: str = "openid") -> dict[str, Any]:
        """Tokens by the authorization code flow with PKCE."""
        verifier = secrets.token_urlsafe(48)
        sent_to = self.authorize(person, challenge_of(verifier), scope)
        code = parse_qs(urlsplit(sent_to).query)["code"][0]
        return self.tokens(
            grant_type="authorization_code", client_id=CLI, code=code, redirect_uri=CALLBACK, code_verifier=verifier
        )

    def authorize(self, person: Person, challenge: str, scope: str = "openid") -> str:
        """Where the browser is sent with its code."""
        asked = {
            "client_id": CLI, "redirect_uri": CALLBACK, "response_type": "code", "scope": scope, "state": "s",
            "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        url = f"{self.discovery['authorization_endpoint']}?{urlencode(asked)}"
        with Browser() as browser:
            return browser.confirm(url, person.username, person.password, stop_at=CALLBACK)

    def wait_for_device(self, device: dict[str, Any], verifier: str) -> dict[str, Any]:
        """Poll as long as the answer is to wait."""
        for _ in range(20):
            answer = self.poll_device(device, verifier)
            if answer.status_code == 200:
                content: dict[str, Any] = answer.json()
                return content
            assert answer.json()["error"] in ("authorization_pending", "slow_down"), answer.text
            time.sleep(float(device["interval"]))
        raise AssertionError("nobody said yes")

    def close(self) -> None:
        self._http.close()
