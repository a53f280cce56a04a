"""The gateway that the suite talks to: one outside, named by the environment, or the reference on the embedded stack.

Outside: GATEWAY_URL, and GATEWAY_<WHO>_ID and _SECRET for OPERATOR, USER, OTHER (an operator of another tenant) and
ADMIN, clients that may ask the realm for tokens. GATEWAY_ECHO_URL is a second gateway of the same configuration whose
API is `tests.conformance.gateway.echo` and whose ceiling is GATEWAY_ECHO_CEILING (40 unless said).
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn

from deploy.embedded.stack import Stack
from tests.conformance.gateway import echo
from tests.conformance.gateway.reference import Gateway
from tests.fixtures import secrecy
from tests.fixtures.kong.rendering import render

TOKEN_PATH = "/realms/agent-runtime/protocol/openid-connect/token"
CONSOLE = "http://console.localhost:18999"
TENANTS = {"operator": "gate-1", "user": "gate-1", "other": "gate-2", "admin": None}
ECHO_CEILING = 40


@dataclass
class Site:
    """Where to send requests, and how to get tokens."""

    url: str
    echo_url: str
    ceiling: int
    console: str | None
    fetch: Callable[[str], str]
    # Signs any token; only where the issuer is ours.
    mint: Callable[..., str] | None
    _tokens: dict[str, str] = field(default_factory=dict)

    def token(self, who: str = "operator") -> str:
        if who not in self._tokens:
            self._tokens[who] = self.fetch(who)
        return self._tokens[who]

    def bearer(self, who: str = "operator") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(who)}"}


@contextmanager
def site() -> Iterator[Site]:
    if url := os.environ.get("GATEWAY_URL"):
        yield _outside(url.rstrip("/"))
        return
    directory = Path(tempfile.mkdtemp(prefix="agent-runtime-gateway-"))
    directory.chmod(0o711)  # PostgreSQL, as another user, enters it
    with ExitStack() as held:
        held.callback(shutil.rmtree, directory, ignore_errors=True)
        stack = Stack(directory / "state").start(migrated=True)
        held.callback(stack.stop)
        api = stack.add_api()
        for slug in {tenant for tenant in TENANTS.values() if tenant}:
            admin = {"Authorization": f"Bearer {stack.token(role='admin', lifetime=3600)}"}
            httpx.post(f"{api}/v1/tenants", json={"slug": slug}, headers=admin).raise_for_status()
        upstream = held.enter_context(serving(echo.app))
        main = held.enter_context(_reference(_environment(stack, api, 6000)))
        echoing = held.enter_context(_reference(_environment(stack, upstream, ECHO_CEILING)))

        def sign(who: str) -> str:
            role = "operator" if who == "other" else who
            return stack.token(role=role, tenant=TENANTS[who], subject=f"gateway-{who}", lifetime=3600)

        yield Site(main, echoing, ECHO_CEILING, CONSOLE, sign, stack.signer.mint)
        secrecy.check(directory / "state")


@contextmanager
def _reference(environment: dict[str, str]) -> Iterator[str]:
    gateway = Gateway(render(environment))
    try:
        with serving(gateway.app) as url:
            yield url
    finally:
        gateway.close()


def _environment(stack: Stack, api: str, ceiling: int) -> dict[str, str]:
    known = stack.environment()
    keycloak = urlsplit(known["OIDC_ISSUER"])
    return {
        **{name: known[name] for name in ("OIDC_ISSUER", "OIDC_JWKS_URL", "OIDC_AUDIENCE", "REDIS_URL")},
        "API_UPSTREAM_URL": api,
        "KEYCLOAK_UPSTREAM_URL": f"{keycloak.scheme}://{keycloak.netloc}",
        "TENANT_REQUESTS_PER_MINUTE": str(ceiling),
        "SIGN_IN_REQUESTS_PER_MINUTE": "1000",
        "CONSOLE_URL": CONSOLE,
        "CONSOLE_UPSTREAM_URL": api,
    }


def _outside(url: str) -> Site:
    def fetch(who: str) -> str:
        client = {name: os.environ[f"GATEWAY_{who.upper()}_{name}"] for name in ("ID", "SECRET")}
        form = {"grant_type": "client_credentials", "client_id": client["ID"], "client_secret": client["SECRET"]}
        return str(httpx.post(f"{url}{TOKEN_PATH}", data=form).raise_for_status().json()["access_token"])

    ceiling = int(os.environ.get("GATEWAY_ECHO_CEILING", ECHO_CEILING))
    echoing = os.environ.get("GATEWAY_ECHO_URL", "").rstrip("/")
    return Site(url, echoing, ceiling, os.environ.get("GATEWAY_CONSOLE_URL"), fetch, None)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """An application on a port of its own; its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, proxy_headers=False, timeout_keep_alive=75, server_header=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = server.force_exit = True
        thread.join(5)
