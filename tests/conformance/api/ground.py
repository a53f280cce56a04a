"""What the cases stand on: a stack with an api and a worker, two tenants, and things in them that requests can name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.embedded.ports import LOOPBACK
from deploy.embedded.stack import Stack
from tests.fixtures import secrecy

TENANT = "fuzzed"
# What administrators may suspend, delete and so on; nobody else works in them.
VICTIMS = ("victim-1", "victim-2", "victim-3")
PROVIDER = "scripted"


@dataclass(frozen=True)
class Ground:
    """What a process that makes cases needs to know; it can be sent to another process."""

    url: str
    tokens: dict[str, str]
    # By the name of a path parameter: values of things that exist.
    known: dict[str, list[str]]


@contextmanager
def prepared() -> Iterator[Ground]:
    """A stack for the time of the run; it goes, with its directory, at the end."""
    directory = Path(tempfile.mkdtemp(prefix="agent-runtime-fuzz-"))
    directory.chmod(0o711)  # PostgreSQL, as another user, enters it
    with ExitStack() as held:
        held.callback(shutil.rmtree, directory, ignore_errors=True)
        stack = Stack(directory / "state").start(migrated=True)
        held.callback(stack.stop)
        environment = _providers(directory, stack, held)
        url = stack.add_api(environment=environment)
        stack.add_worker("worker", environment=environment)
        tokens = {
            role: stack.token(role=role, tenant=TENANT, subject=f"fuzzing-{role}", lifetime=3600)
            for role in ("admin", "operator", "user")
        }
        known = _make_things(url, tokens)
        yield Ground(url, tokens, known)
        # Whatever was sent, nothing of it that is secret is logged.
        secrecy.check(directory / "state")


def _providers(directory: Path, stack: Stack, held: ExitStack) -> dict[str, str]:
    """A model that knows no script: runs end, one way or the other."""
    port = stack.ports["model"]
    model = subprocess.Popen([sys.executable, "-m", "deploy.demo.scripted_model", "--port", str(port)])
    held.callback(model.wait)
    held.callback(model.kill)
    file = directory / "providers.yaml"
    provider = {"base_url": f"http://{LOOPBACK}:{port}/v1", "models": {"*": {"input_price": "1", "output_price": "2"}}}
    file.write_text(yaml.safe_dump({"providers": {PROVIDER: provider}}))
    return {"MODEL_PROVIDERS_FILE": str(file)}


def _make_things(url: str, tokens: dict[str, str]) -> dict[str, list[str]]:
    with httpx.Client(base_url=url, timeout=30) as client:

        def post(path: str, role: str, **more: Any) -> Any:
            headers = {"Authorization": f"Bearer {tokens[role]}"}
            return client.post(path, headers=headers, **more).raise_for_status().json()

        for slug in (TENANT, *VICTIMS):
            post("/v1/tenants", "admin", json={"slug": slug})
        agents = [f"agent-{number}" for number in range(1, 5)]
        for agent in (*agents, "doomed"):
            spec = {"model": f"{PROVIDER}/nothing", "instructions": "Help.", "limits": {"seconds": 60}}
            post("/v1/agents", "operator", json={"slug": agent, "spec": spec})
        runs = [
            post("/v1/runs", role, json={"agent": agents[0], "input": "hello", "labels": {"n": str(number)}})["id"]
            for number in range(4)
            for role in ("operator", "user")
        ]
        files = [
            post("/v1/artifacts", role, params={"name": "a.txt"}, content=json.dumps(role).encode())["id"]
            for role in ("operator", "user")
        ]
    return {"agent": agents, "run_id": runs, "artifact_id": files, "number": ["1"], "tenant": [*VICTIMS]}
