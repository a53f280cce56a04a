"""An installation as compose has it (`.env`, `docker compose …`), on the embedded servers of a directory of its own."""

from __future__ import annotations

import json
import os
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import yaml
from agent_runtime import AsyncClient
from agent_runtime.client import settings as client_settings

from deploy.demo.model_control import ModelControl
from deploy.embedded.binaries import find_postgres
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.stack import Stack
from deploy.embedded.state import write_private
from tests.conformance.operations.procedures import procedures
from tests.conformance.operations.shim import SOCKET
from tests.fixtures.embedded import FAST
from tests.fixtures.platform import NO_TLS, PROVIDER
from tests.fixtures.records import Records

ROOT = Path(__file__).resolve().parents[3]
# Where the embedded servers keep what compose's .env names.
SECRETS = {
    "POSTGRES_PASSWORD": "postgres-superuser",
    "DATABASE_MIGRATION_PASSWORD": "postgres-owner",
    "DATABASE_PASSWORD": "postgres-app",
    "DATABASE_MAINTENANCE_PASSWORD": "postgres-maintenance",
    "REDIS_PASSWORD": "valkey",
    "S3_ACCESS_KEY_ID": "s3-access-key",
    "S3_SECRET_ACCESS_KEY": "s3-secret-key",
    "KEYCLOAK_PROVISIONER_SECRET": "provisioner-secret",
}
ROLES = ("TEMPORAL", "KEYCLOAK", "LANGFUSE")
SERVERS = {"redis": "valkey", "minio": "object-store", "temporal": "temporal", "postgres": "postgres"}
OF_SERVER = {"valkey": ("REDIS_PASSWORD",), "object-store": ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")}
FLAGS_WITH_VALUE = ("-v", "--volume", "--user", "-e", "--env", "--scale")
TENANT = "acme"


class Refused(Exception):
    """A command that this installation does not know, or that failed."""


class Installation:
    """Servers, an api, workers, a scripted model; commands reach it through `docker`, which is tests' own here."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scale = {"api": 1, "worker": 1}
        self._held = ExitStack()
        self._applied: dict[str, str] = {}
        self.api_url = ""

    # -- life ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.stack = Stack(self.directory / "state").start(migrated=True)
        self._held.callback(self._stop)
        self._answer_commands()
        port = self.stack.ports["model"]
        self.model_url = f"http://{LOOPBACK}:{port}"
        model = subprocess.Popen([sys.executable, "-m", "deploy.demo.scripted_model", "--port", str(port)])
        self._held.callback(model.wait)
        self._held.callback(model.kill)
        provider = {"base_url": f"{self.model_url}/v1", "api_key_env": "SCRIPTED_KEY"}
        priced = {"models": {"*": {"input_price": "1", "output_price": "2"}}}
        (self.directory / "providers.yaml").write_text(yaml.safe_dump({"providers": {PROVIDER: provider | priced}}))
        secret = self.stack.state.secret
        lines = {name: secret(kept) for name, kept in SECRETS.items()}
        lines |= {f"{name}_DATABASE_PASSWORD": f"first-{name.lower()}-0123456789" for name in ROLES}
        lines["SECRETS_KEYS"] = (self.stack.state.path / "secrets/keys-of-secrets").read_text() if self._keys() else ""
        self.write_env(lines)
        (self.directory / "providers.env").write_text("SCRIPTED_KEY=sk-first-0123456789\n")
        self._applied = self.variables()
        self.type("docker compose run --rm -T postgres-roles")
        self.up([])
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _keys(self) -> bool:
        self.stack.environment()  # makes the key of tenants' secrets
        return True

    def _stop(self) -> None:
        for name in self.stack.services():
            if name not in ("issuer",):
                self.stack.stop_service(name, 0)
        self.stack.stop()

    # -- what an operator edits ----------------------------------------------------------------------------------

    def variables(self) -> dict[str, str]:
        lines = (self.directory / ".env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def write_env(self, lines: Mapping[str, str]) -> None:
        (self.directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def _provider_keys(self) -> dict[str, str]:
        lines = (self.directory / "providers.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def environment(self) -> dict[str, str]:
        """Of api, worker and the commands of their image."""
        stack = {name: value for name, value in self.stack.environment().items() if name != "SECRETS_KEYS_FILE"}
        own = {
            "MODEL_PROVIDERS_FILE": str(self.directory / "providers.yaml"),
            "SECRETS_KEYS": self.variables()["SECRETS_KEYS"],
        }
        return {**stack, **own, **FAST}

    # -- commands ------------------------------------------------------------------------------------------------

    def run(self, name: str) -> str:
        """Type a procedure of docs/operations.md; what it printed."""
        return self.type(procedures()[name])

    def type(self, text: str) -> str:
        binary = self.directory / "bin"
        environment = {**os.environ, SOCKET: str(self.directory / "commands")}
        environment["PATH"] = f"{binary}:{os.environ['PATH']}"
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, f"{text}: {done.stdout}{done.stderr}"
        return done.stdout

    def _answer_commands(self) -> None:
        (self.directory / "bin").mkdir()
        docker = self.directory / "bin" / "docker"
        docker.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/conformance/operations/shim.py "$@"\n')
        docker.chmod(0o755)
        installation = self

        class Asked(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    answer = installation.command(json.loads(self.rfile.readline()))
                except Exception as error:  # told to whoever typed it
                    answer = {"code": 1, "said": f"{type(error).__name__}: {error}\n"}
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        server = socketserver.ThreadingUnixStreamServer(str(self.directory / "commands"), Asked)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._held.callback(server.server_close)
        self._held.callback(server.shutdown)

    def command(self, arguments: list[str]) -> dict[str, Any]:
        """What `docker …` is here."""
        if arguments[:1] != ["compose"]:
            raise Refused(f"docker {arguments}")
        verb, flags, words = _parsed(arguments[1:])
        match verb:
            case "exec" | "run":
                return self._in_container(words[0], words[1:], flags)
            case "stop":
                for service in words:
                    for name in self._processes(service):
                        self.stack.stop_service(name)
            case "start" | "restart" | "up":
                self.up(words, flags, again=verb == "restart")
            case _:
                raise Refused(f"docker compose {verb}")
        return {"code": 0, "said": ""}

    def _processes(self, service: str) -> list[str]:
        running = self.stack.services()
        names = [SERVERS.get(service, service)]
        names += [name for name in running if re.fullmatch(rf"{service}-\d+", name)]
        return [name for name in names if name in running and name != "issuer"]

    def _in_container(self, service: str, command: list[str], flags: list[tuple[str, str]]) -> dict[str, Any]:
        environment = {**os.environ, **self.environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
        for flag, value in flags:
            if flag in ("-e", "--env"):
                environment |= dict([value.split("=", 1)])
            elif flag in ("-v", "--volume"):
                host, inside = value.split(":")[:2]
                command = [word.replace(inside, host) for word in command]
        if service in ("postgres", "postgres-roles"):
            environment |= self._postgres()
        if service == "postgres-roles" and not command:
            command = ["bash", str(ROOT / "deploy/compose/postgres/roles.sh")]
        elif service == "migrations" and not command:
            command = ["python", "-m", "migrations"]
        elif service == "minio-bucket" and not command:
            command = ["python", "-m", "libs.clients.bucket"]
        if command[0] == "python":
            command = [sys.executable, *command[1:]]
        return {"argv": command, "environment": environment}

    def _postgres(self) -> dict[str, str]:
        url = urlsplit(self.stack.environment()["DATABASE_URL"])
        return {
            **{name: value for name, value in self.variables().items() if name.endswith("_PASSWORD")},
            "PATH": f"{find_postgres()}:{os.environ['PATH']}",
            "PGHOST": str(url.hostname),
            "PGPORT": str(url.port),
            "PGUSER": "postgres",
            "PGPASSWORD": self._applied["POSTGRES_PASSWORD"],
        }

    def up(self, services: list[str], flags: list[tuple[str, str]] | None = None, *, again: bool = False) -> None:
        """Bring what runs in line with `.env`: as compose does, of what changed only, and migrations first."""
        for _, value in flags or ():
            name, _, count = value.partition("=")
            if name in self.scale:
                self.scale[name] = int(count)
        wanted = self.variables()
        changed = {name for name, value in wanted.items() if self._applied.get(name) != value}
        for name in changed & SECRETS.keys():
            write_private(self.stack.state.path / "secrets" / SECRETS[name], wanted[name])
        for server, names in OF_SERVER.items():
            if changed & set(names):
                self._again(server)
        if "KEYCLOAK_PROVISIONER_SECRET" in changed and self.stack.servers.issuer:
            self.stack.servers.issuer.stop()  # as an operator sets it in Keycloak
            self.stack.servers.issuer.start()
        for server in SERVERS.values():
            if self.stack.pid(server) is None:
                self.stack.start_service(server)
        self._applied = wanted
        if not services or {"api", "worker"} & set(services):
            self.stack.migrate()
        for service in self.scale:
            if not services or service in services:
                self._scaled(service, again or bool(changed) or (service == "worker" and self._keys_changed()))
        self._given = self._provider_keys()

    def _scaled(self, service: str, changed: bool) -> None:
        wanted = [_instance(service, number) for number in range(1, self.scale[service] + 1)]
        for name in self._processes(service):
            if name not in wanted:
                self.stack.stop_service(name)
        for name in wanted:
            self._replace(name, changed)

    def _keys_changed(self) -> bool:
        return getattr(self, "_given", None) != self._provider_keys()

    def _again(self, server: str) -> None:
        """With its new secret."""
        self.stack.stop_service(server)
        (own,) = [each for each in self.stack.servers.own() if each.name == server]
        own.install(self.stack._stopping)
        self.stack.start_service(server)

    def _replace(self, name: str, changed: bool) -> None:
        running = self.stack.services().get(name, {}).get("pid") is not None
        if running and not changed:
            return
        if running:
            self.stack.stop_service(name)
        if name.startswith("api"):
            url = self.stack.add_api(name, environment=self.environment())
            self.api_url = url if name == "api" else self.api_url
        else:
            self.stack.add_worker(name, environment={**self.environment(), **self._provider_keys()})

    # -- callers -------------------------------------------------------------------------------------------------

    def client(self, role: str = "operator") -> AsyncClient:
        token = self.stack.token(role=role, tenant=TENANT, subject="operator", lifetime=3600)
        return AsyncClient(
            self.api_url, token, http=httpx.AsyncClient(**client_settings(self.api_url, 30), verify=NO_TLS)
        )

    def model(self) -> ModelControl:
        return ModelControl(self.model_url)

    async def make_tenant(self) -> None:
        async with self.client("admin") as api:
            self.tenant_id = (await api.tenants.create(TENANT)).id

    @asynccontextmanager
    async def records(self) -> AsyncIterator[Records]:
        async with Records.of(self.stack.environment(), self.tenant_id) as records:
            yield records


def _instance(service: str, number: int) -> str:
    """The stack's name of it."""
    return service if service == "api" and number == 1 else f"{service}-{number}"


def _parsed(arguments: list[str]) -> tuple[str, list[tuple[str, str]], list[str]]:
    """The verb, flags with their values, and the words from the service on."""
    verb, *rest = arguments
    flags: list[tuple[str, str]] = []
    while rest and rest[0].startswith("-"):
        flag = rest.pop(0)
        flags.append((flag, rest.pop(0)) if flag in FLAGS_WITH_VALUE else (flag, ""))
    return verb, [each for each in flags if each[1]], rest
