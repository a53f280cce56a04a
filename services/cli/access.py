"""Which API a command talks to and with whose token: what is given, else the login, else the embedded stack that runs.

The token, first of all that are there: --token-file, AGENT_RUNTIME_TOKEN, the login for the API in use, what the
embedded stack's own issuer gives. The API: --api-url, else the embedded stack when --state-dir, --tenant or --role
means it or a token is given, else the one that was logged in to last, else the embedded stack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer
from agent_runtime import Client, Retry, Unusable

from deploy.embedded.connection import connect
from services.cli.login_store import Login, LoginStore
from services.cli.login_token import LoginToken
from services.cli.oauth import LoginEnded

IMPATIENT = Retry(attempts=5, total=20.0, first_pause=0.2, longest_pause=3.0)  # a person is waiting
DEMO_TENANT = "demo"

Token = str | Callable[[], str] | None


@dataclass(frozen=True)
class Access:
    """The global options; `token` comes from the environment or a file, never from the command line."""

    api_url: str | None = None
    token: str | None = None
    token_file: Path | None = None
    state_dir: Path | None = None
    tenant: str = DEMO_TENANT
    role: str | None = None

    def client(self, role: str = "operator") -> Client:
        """A client; `role` is asked of the embedded stack's issuer unless another was chosen."""
        api_url, _, token = self._resolve(role)
        return Client(api_url, token, retry=IMPATIENT)

    def address(self) -> str:
        """The API in use."""
        return self._resolve("operator")[0]

    def login(self) -> Login | None:
        """The login for the API in use."""
        if self.api_url:
            return LoginStore().find(self.api_url)
        return None if self._means_embedded else LoginStore().current()

    def token_in_use(self) -> tuple[str, str]:
        """Where the token comes from, and the token."""
        _, source, token = self._resolve("operator")
        if token is None:
            raise LoginEnded("You are not logged in. Run `agent-runtime login`.")
        return source, token() if callable(token) else token

    @property
    def _means_embedded(self) -> bool:
        return self.state_dir is not None or self.role is not None or self.tenant != DEMO_TENANT

    def _resolve(self, role: str) -> tuple[str, str, Token]:
        """The API's address, where the token comes from, and the token."""
        source, token = self._given_token()
        login = self.login() if token is None else None
        if login is not None:
            return self.api_url or login.api_url, "the login", LoginToken(LoginStore(), login)
        if self.api_url:
            return self.api_url, source, token
        connection = connect(self.state_dir, self.tenant, self.role or role)
        return connection.api_url, source if token else "the embedded stack", token or connection.token_provider

    def _given_token(self) -> tuple[str, Token]:
        """The token, read from its file again each time, so that a rotated one is found."""
        if self.token_file is not None:
            return str(self.token_file), self._read_token
        return "AGENT_RUNTIME_TOKEN", self.token or None

    def _read_token(self) -> str:
        path = self.token_file or Path()
        try:
            return path.read_text(encoding="ascii").strip()
        except UnicodeDecodeError:
            raise Unusable(f"{path} does not hold a token") from None


def client(ctx: typer.Context, role: str = "operator") -> Client:
    """The client of a command, closed when the command ends."""
    access: Access = ctx.find_root().obj
    opened: Client = ctx.with_resource(access.client(role))
    return opened
