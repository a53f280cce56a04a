"""Which API a command talks to and with whose token: what is given, else the embedded stack that runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer
from agent_runtime import Client, Retry, Unusable

from deploy.embedded.connection import connect

IMPATIENT = Retry(attempts=5, total=20.0, first_pause=0.2, longest_pause=3.0)  # a person is waiting


@dataclass(frozen=True)
class Access:
    """The global options; `token` comes from the environment or a file, never from the command line."""

    api_url: str | None = None
    token: str | None = None
    token_file: Path | None = None
    state_dir: Path | None = None
    tenant: str = "demo"
    role: str | None = None

    def client(self, role: str = "operator") -> Client:
        """A client; `role` is asked of the embedded stack's issuer unless another was chosen."""
        token = self._given_token()
        if self.api_url:
            return Client(self.api_url, token, retry=IMPATIENT)
        connection = connect(self.state_dir, self.tenant, self.role or role)
        return Client(connection.api_url, token or connection.token_provider, retry=IMPATIENT)

    def _given_token(self) -> str | Callable[[], str] | None:
        """The token, read from its file again each time, so that a rotated one is found."""
        if self.token_file is not None:
            return self._read_token
        return self.token or None

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
