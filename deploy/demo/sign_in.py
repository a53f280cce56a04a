"""A person's access token from a real Keycloak, as a browser would get it: authorization code with PKCE."""

from __future__ import annotations

import secrets
import threading
import time
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from deploy.demo.browser import Browser, NotSignedIn
from deploy.embedded.sessions import challenge_of

CLIENT = "agent-runtime-cli"
CALLBACK = "http://127.0.0.1:4242/callback"  # nobody listens there: the code is taken from the address
EARLY_SECONDS = 60


class SignedIn:
    """Gives a token at each call; signs in anew when the last one is about to end."""

    def __init__(self, issuer: str, username: str, password: str) -> None:
        self._issuer, self._username, self._password = issuer, username, password
        self._token, self._until = "", 0.0
        self._turn = threading.Lock()

    def __call__(self) -> str:
        with self._turn:
            if time.monotonic() >= self._until:
                self._sign_in()
            return self._token

    def _sign_in(self) -> None:
        endpoint = f"{self._issuer}/protocol/openid-connect"
        verifier = secrets.token_urlsafe(48)
        asked = {"client_id": CLIENT, "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid"}
        pkce = {"code_challenge": challenge_of(verifier), "code_challenge_method": "S256"}
        with Browser() as browser:
            url = f"{endpoint}/auth?{urlencode(asked | pkce)}"
            sent_to = browser.confirm(url, self._username, self._password, stop_at=CALLBACK)
        code = parse_qs(urlsplit(sent_to).query).get("code", [""])[0]
        if not sent_to.startswith(CALLBACK) or not code:
            raise NotSignedIn(f"Keycloak at {self._issuer} did not sign {self._username} in")
        form = {"grant_type": "authorization_code", "client_id": CLIENT, "code": code, "redirect_uri": CALLBACK}
        answer = httpx.post(f"{endpoint}/token", data={**form, "code_verifier": verifier}, timeout=30, trust_env=False)
        if answer.status_code != 200:
            raise NotSignedIn(f"Keycloak at {self._issuer} gave {self._username} no token: {answer.status_code}")
        granted = answer.json()
        self._token = granted["access_token"]
        self._until = time.monotonic() + granted["expires_in"] - EARLY_SECONDS
