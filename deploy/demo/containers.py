"""The demo's world made of containers: the shipped docker-compose.yml as a project of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.demo.props import INVENTORY_PORT, MODEL_PORT
from deploy.demo.sign_in import SignedIn
from deploy.demo.world import DEAD_AFTER_SECONDS, HEARTBEAT_TIMEOUT_SECONDS, World

ROOT = Path(__file__).parents[2]
FILES = (Path("docker-compose.yml"), Path("deploy/compose/demo.yml"))
PROJECT, TENANT = "agent-runtime-demo", "acme"
MODEL_SERVER_PORT = 8080
WORKERS = {"worker-1": "worker", "worker-2": "worker-2"}  # services by WORKER_NAME
# The password of all users for development, as docker-compose.yml has it.
DEVELOPMENT_PASSWORD = "development-only"  # noqa: S105 - everybody knows it
START_SECONDS = 600


class ComposeFailed(Exception):
    """`docker compose` did not do what the demo needs; the text is what it said."""


@dataclass(frozen=True)
class Compose:
    """One project of `docker compose`; settings come from here, never from an .env of this directory."""

    project: str
    files: Sequence[Path]
    settings: dict[str, str]

    def __call__(self, *arguments: str, seconds: float = 120) -> str:
        """What the command prints. Raises `ComposeFailed` with the end of what it said."""
        named = [part for file in self.files for part in ("--file", str(file))]
        command = ["docker", "compose", "--project-name", self.project, "--env-file", os.devnull, *named, *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                command, cwd=ROOT, env={**_clean(), **self.settings}, capture_output=True, text=True,
                timeout=seconds, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as failure:
            raise ComposeFailed(f"docker compose {arguments[0]}: {failure}") from None
        if done.returncode:
            raise ComposeFailed(f"docker compose {arguments[0]} failed: {' / '.join(done.stderr.splitlines()[-4:])}")
        return done.stdout

    def address(self, service: str, port: int) -> str:
        """Where a published port of a service is reached from this machine."""
        return f"http://{self('port', service, str(port)).strip()}"

    def states(self) -> dict[str, str]:
        """Each service's health, or its state where it has none."""
        listed = [json.loads(line) for line in self("ps", "--all", "--format", "json").splitlines() if line]
        return {each["Service"]: each["Health"] or each["State"] for each in listed}


@contextmanager
def container_world(
    watch: Callable[[Compose], None], more_files: Sequence[Path] = (), *, keep: bool = False
) -> Iterator[World]:
    """Build, start, and take it all away again with its data, unless it is to be kept."""
    compose, url = prepared(PROJECT, more_files)
    watch(compose)
    try:
        compose("up", "--wait", "--pull", "missing", seconds=START_SECONDS)
        yield world_on(compose, url)
    finally:
        if not keep:
            compose("down", "--volumes", "--timeout", "5")


def prepared(project: str, more_files: Sequence[Path] = ()) -> tuple[Compose, str]:
    """A project with its images built, and the URL that it will have."""
    port = str(_free_port())
    timeouts = {
        "WORKER_HEARTBEAT_TIMEOUT_SECONDS": str(HEARTBEAT_TIMEOUT_SECONDS),
        "WORKER_DEAD_AFTER_SECONDS": str(DEAD_AFTER_SECONDS),
    }
    compose = Compose(project, (*FILES, *more_files), {"GATEWAY_PORT": port, **timeouts})
    compose("build", "api", seconds=START_SECONDS)  # whose packages others may take
    compose("build", seconds=START_SECONDS)
    return compose, f"http://localhost:{port}"


def world_on(compose: Compose, public_url: str) -> World:
    """What the story talks to, on a project that is up."""
    issuer = f"{public_url}/realms/agent-runtime"
    admin, operator = (SignedIn(issuer, name, DEVELOPMENT_PASSWORD) for name in ("dev-admin", f"{TENANT}-operator"))
    admin(), operator()  # before a client waits for it in its event loop
    inventory = compose.address("props", INVENTORY_PORT)

    def kill(worker: str) -> str:
        container = compose("ps", "--quiet", WORKERS[worker]).strip()
        compose("kill", "--signal", "SIGKILL", WORKERS[worker])
        return f"container {container[:12]}"

    def orders() -> list[dict[str, Any]]:
        received: list[dict[str, Any]] = httpx.get(f"{inventory}/orders", trust_env=False).json()
        return received

    return World(
        services=list(compose.states()),
        tenant=TENANT,
        api_url=public_url,
        local_model_url=compose.address("local-model", MODEL_SERVER_PORT),
        model_url=compose.address("props", MODEL_PORT),
        inventory_url=f"http://props:{INVENTORY_PORT}",
        admin=admin,
        operator=operator,
        orders=orders,
        kill=kill,
        kept=f"the project {PROJECT}; `docker compose -p {PROJECT} down --volumes` ends it",
    )


def _clean() -> dict[str, str]:
    """The environment without what would change the shipped file: only what the engine's client needs."""
    kept = ("DOCKER_", "BUILDX_", "BUILDKIT_", "STANDIN_")
    return {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME") or name.startswith(kept)
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found
