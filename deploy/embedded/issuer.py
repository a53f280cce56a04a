"""A small OpenID Connect issuer with Keycloak's paths and claims; it exists for embedded stacks and tests only."""

from __future__ import annotations

import threading
import time

import uvicorn

from deploy.embedded.administration import ADMIN
from deploy.embedded.issuer_app import make_app
from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.realm import KEYS_PATH, TOKEN_PATH, issuer_at
from deploy.embedded.registrations import PROVISIONER, PROVISIONER_SECRET, Clients
from deploy.embedded.state import StateDirectory
from deploy.embedded.tokens import AUDIENCE, TokenSigner
from deploy.embedded.users import Users


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
        app = make_app(self.signer, Clients(self._state), Users(self._state), f"http://{self.address}")
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
        self._state.secret(PROVISIONER_SECRET)
        return {
            "OIDC_ISSUER": self.url,
            "OIDC_JWKS_URL": f"http://{LOOPBACK}:{self._port}{KEYS_PATH}",
            "OIDC_AUDIENCE": AUDIENCE,
            "KEYCLOAK_ADMIN_URL": f"http://{self.address}{ADMIN}",
            "KEYCLOAK_PROVISIONER_ID": PROVISIONER,
            "KEYCLOAK_PROVISIONER_SECRET_FILE": str(self._state.path / "secrets" / PROVISIONER_SECRET),
        }
