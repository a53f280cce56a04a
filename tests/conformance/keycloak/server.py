"""A real Keycloak on the loopback address: a warm copy with the realm imported, on ports of its own.

`python -m tests.conformance.keycloak.server` prepares the warm copy; it exits with 3 without Java or Maven.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from deploy.embedded.failures import StackFailure
from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.probes import http_request
from deploy.embedded.processes import Flag, Program
from deploy.embedded.service import Service
from deploy.embedded.state import StateDirectory
from keycloak.__main__ import REALM as REALM_FILE
from keycloak.__main__ import main as keycloak_command
from tests.conformance.keycloak.distribution import VERSION, CannotRun, alone, built, cache_directory, copied

REALM = "agent-runtime"
ADMINISTRATOR = "bootstrap"
NOT_RUN = 3
START_SECONDS = 240.0
# A small heap, and no time spent on optimising what lives for a minute.
JAVA_OPTIONS = "-Xms64m -Xmx512m -XX:TieredStopAtLevel=1"


class Keycloak:
    """One server. `with Keycloak() as keycloak:` starts it with our realm and the users for development."""

    def __init__(self, home: Path | None = None, options: Mapping[str, str] | None = None) -> None:
        """`home` is a built distribution, else the warm one; `options` are further options of `start`."""
        self._source = home
        self._options = dict(options or {})
        self._held = ExitStack()
        self.variables = {
            "CONSOLE_URL": "http://localhost:8088",
            "KC_BOOTSTRAP_ADMIN_USERNAME": ADMINISTRATOR,
            **{
                name: secrets.token_urlsafe(18)
                for name in (
                    "CONSOLE_CLIENT_SECRET",
                    "DEV_PASSWORD",
                    "PLATFORM_ADMIN_PASSWORD",
                    "KEYCLOAK_PROVISIONER_SECRET",
                )
            },
        }

    def start(self, *, realm: bool = True) -> Self:
        """Start it and wait until it is ready; with `realm`, import ours and bring it up to date."""
        source = self._source or warm()
        self.variables["KC_BOOTSTRAP_ADMIN_PASSWORD"] = _administrators_password()
        directory = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="agent-runtime-keycloak-")))
        state = StateDirectory(directory / "state")
        state.open()
        ports = Ports(state.path / "ports.json")
        self.port, self._management = ports["keycloak"], ports["management"]
        self.home = copied(source, directory / "home")
        if realm:
            self._check()
            (self.home / "data/import").mkdir(parents=True)
            shutil.copy(REALM_FILE, self.home / "data/import")
        self._service = Service("keycloak", self._program, state, Flag())
        self._held.callback(self._service.stop)
        try:
            self._service.start()
            if realm:
                self.update("--development")
        except BaseException:
            self._held.close()
            raise
        return self

    def _check(self) -> None:
        if keycloak_command(["check", "--development"], self.variables) != 0:
            raise RuntimeError("the variables of the test's own realm are unfit")

    def update(self, *options: str) -> None:
        """Run `python -m keycloak update`, as an operator would."""
        code = keycloak_command(["update", *options], {**self.variables, "KEYCLOAK_URL": self.url})
        if code != 0:
            raise RuntimeError(f"`python -m keycloak update` ended with {code}")

    def _program(self) -> Program:
        options = {
            "http-enabled": "true",
            "http-host": LOOPBACK,
            "http-port": str(self.port),
            "http-management-host": LOOPBACK,
            "http-management-port": str(self._management),
            # Else JGroups opens ports on all addresses.
            "cache": "local",
            "hostname": self.url,
            "hostname-backchannel-dynamic": "true",
            **self._options,
        }
        chosen = tuple(f"--{name}={value}" for name, value in options.items())
        return Program(
            name="keycloak",
            argv=(str(self.home / "bin/kc.sh"), "start", "--optimized", "--import-realm", *chosen),
            directory=self.home,
            # `live` is 200 long before.
            ready=lambda: http_request(self._management, "/health/ready")[0] == 200,
            address=f"{LOOPBACK}:{self.port}",
            environment={**os.environ, **self.variables, "JAVA_OPTS_KC_HEAP": JAVA_OPTIONS},
            stop_seconds=15,
            start_seconds=START_SECONDS,
        )

    def stop(self) -> None:
        self._held.close()

    def pause(self) -> None:
        """Stop the server and keep its data, to `resume` on the same ports."""
        self._service.stop()

    def resume(self) -> None:
        self._service.start()

    @property
    def url(self) -> str:
        """The public address, without a realm."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def issuer(self) -> str:
        return f"{self.url}/realms/{REALM}"

    @property
    def environment(self) -> dict[str, str]:
        """What the API needs to believe this server's tokens, and to make users of tenants."""
        return {
            "OIDC_ISSUER": self.issuer,
            "OIDC_JWKS_URL": f"{self.issuer}/protocol/openid-connect/certs",
            "KEYCLOAK_PROVISIONER_SECRET": self.variables["KEYCLOAK_PROVISIONER_SECRET"],
        }

    @property
    def password(self) -> str:
        """The password of every user for development."""
        return self.variables["DEV_PASSWORD"]

    def admin(self, realm: str = REALM) -> httpx.Client:
        """A client of the admin REST API below one realm; its token is good for a minute."""
        form = {
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": ADMINISTRATOR,
            "password": self.variables["KC_BOOTSTRAP_ADMIN_PASSWORD"],
        }
        token = self.token(form, realm="master")["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=f"{self.url}/admin/realms/{realm}", headers=headers, timeout=30, trust_env=False)

    def token(self, form: Mapping[str, str], realm: str = REALM) -> dict[str, Any]:
        """The answer of a realm's token endpoint."""
        url = f"{self.url}/realms/{realm}/protocol/openid-connect/token"
        answer = httpx.post(url, data=dict(form), timeout=30, trust_env=False)
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def warm() -> Path:
    """A distribution whose database was filled by a first start: the next takes a third of the time.

    Raises:
        CannotRun: Java, Maven or the download is missing.
    """
    place = cache_directory() / f"{VERSION}-warm"
    source = built()
    with alone(cache_directory(), "warm"):
        if not place.exists():
            first = Keycloak(source).start(realm=False)
            try:
                first.pause()
                draft = place.with_suffix(f".{os.getpid()}")
                shutil.rmtree(draft, ignore_errors=True)
                copied(first.home, draft).rename(place)
            finally:
                first.stop()
    return place


def _administrators_password() -> str:
    """The warm copy's database has it; so it is kept beside it."""
    path = cache_directory() / "administrator"
    with alone(cache_directory(), "administrator"):
        if not path.exists():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(18))
    return path.read_text(encoding="ascii")


def main() -> int:
    began = time.monotonic()
    try:
        place = warm()
    except (CannotRun, StackFailure) as reason:
        sys.stdout.write(f"{reason}\n")
        return NOT_RUN if isinstance(reason, CannotRun) else 1
    sys.stdout.write(f"Keycloak {VERSION} is ready to start after {time.monotonic() - began:.0f} s: {place}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
