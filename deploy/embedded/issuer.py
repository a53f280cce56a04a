"""A small OpenID Connect issuer with Keycloak's paths and claims; it exists for embedded stacks and tests only."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
import time
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn

from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.realm import DISCOVERY_PATH, KEYS_PATH, TOKEN_PATH, issuer_at
from deploy.embedded.state import StateDirectory, read_json, write_json
from deploy.embedded.tokens import AUDIENCE, LIFETIME_SECONDS, TokenSigner

LONGEST_FORM = 16_384


class Issuer:
    """Serves keys and tokens from a thread of the supervisor."""

    name = "issuer"

    def __init__(self, state: StateDirectory, ports: Ports) -> None:
        self._state = state
        self._port = ports["issuer"]
        self.url = issuer_at(self._port)
        self.token_url = f"http://{LOOPBACK}:{self._port}{TOKEN_PATH}"
        self.address = f"{LOOPBACK}:{self._port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def signer(self) -> TokenSigner:
        return TokenSigner(self._state, self.url)

    def start(self) -> None:
        app = IssuerApp(self.signer, clients(self._state), f"http://{self.address}")
        config = uvicorn.Config(app, LOOPBACK, self._port, log_config=None, access_log=False, lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="issuer", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(2)

    def environment(self) -> dict[str, str]:
        return {
            "OIDC_ISSUER": self.url,
            "OIDC_JWKS_URL": f"http://{LOOPBACK}:{self._port}{KEYS_PATH}",
            "OIDC_AUDIENCE": AUDIENCE,
        }


def clients(state: StateDirectory) -> dict[str, dict[str, str]]:
    """The clients that may ask for tokens, by id: secret, role and tenant; kept in the state directory."""
    path = state.path / "secrets/clients.json"
    stored = read_json(path)
    if isinstance(stored, dict):
        return stored
    made = {
        "platform-admin": {"secret": secrets.token_urlsafe(24), "role": "admin"},
        "demo-operator": {"secret": secrets.token_urlsafe(24), "role": "operator", "tenant": "demo"},
        "demo-user": {"secret": secrets.token_urlsafe(24), "role": "user", "tenant": "demo"},
    }
    write_json(path, made)
    return made


class IssuerApp:
    """The ASGI application."""

    def __init__(self, signer: TokenSigner, known: dict[str, dict[str, str]], server: str) -> None:
        self._signer = signer
        self._clients = known
        self._discovery = {
            "issuer": signer.issuer,
            "token_endpoint": f"{server}{TOKEN_PATH}",
            "jwks_uri": f"{server}{KEYS_PATH}",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        route = (scope["method"], scope["path"])
        if route == ("GET", DISCOVERY_PATH):
            await _answer(send, 200, self._discovery)
        elif route == ("GET", KEYS_PATH):
            await _answer(send, 200, self._signer.key_set())
        elif route == ("POST", TOKEN_PATH):
            form = parse_qs((await _body(receive)).decode("latin-1"))
            await _answer(send, *self._token({name: values[0] for name, values in form.items()}, scope["headers"]))
        else:
            await _answer(send, 404, {"error": "not_found"})

    def _token(self, form: dict[str, str], headers: list[tuple[bytes, bytes]]) -> tuple[int, dict[str, Any]]:
        if form.get("grant_type") != "client_credentials":
            return 400, _problem("unsupported_grant_type", "Unsupported grant_type")
        client, secret = _basic(headers) or (form.get("client_id", ""), form.get("client_secret", ""))
        known = self._clients.get(client)
        if known is None or not secrets.compare_digest(known["secret"].encode(), secret.encode()):
            return 401, _problem("unauthorized_client", "Invalid client or Invalid client credentials")
        token = self._signer.mint(
            role=known["role"], tenant=known.get("tenant"), subject=f"service-account-{client}", client=client
        )
        return 200, {
            "access_token": token,
            "expires_in": LIFETIME_SECONDS,
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "profile email",
        }


def _problem(code: str, description: str) -> dict[str, str]:
    return {"error": code, "error_description": description}


def _basic(headers: list[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    value = dict(headers).get(b"authorization", b"").decode("latin-1")
    if not value.lower().startswith("basic "):
        return None
    try:
        client, _, secret = base64.b64decode(value[6:], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return unquote(client), unquote(secret)


async def _body(receive: Any) -> bytes:
    body = b""
    while len(body) <= LONGEST_FORM:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body
    return b""


async def _answer(send: Any, status: int, content: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
