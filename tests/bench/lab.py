"""What the benchmarks run on: one stack, our api and worker, and the bare programs, all on the same servers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx
import psutil
import yaml

from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.stack import Stack

PROVIDER = "bench"
TENANT = "bench"
WAIT_SECONDS = 30.0


class Lab:
    """Started once for all rows."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def __enter__(self) -> Self:
        directory = Path(tempfile.mkdtemp(prefix="agent-runtime-bench-"))
        directory.chmod(0o755)
        self._held.callback(shutil.rmtree, directory, ignore_errors=True)
        self.stack = Stack(directory / "state").start(migrated=True)
        self._held.callback(self.stack.stop)
        ports = Ports(directory / "ports.json")
        self.model_url = f"http://{LOOPBACK}:{ports['model']}"
        self.tool_url = f"http://{LOOPBACK}:{ports['tools']}"
        self.bare_url = f"http://{LOOPBACK}:{ports['bare-api']}"
        self._program("deploy.demo.scripted_model", "--port", str(ports["model"]))
        self._program("tests.bench.tools_server", str(ports["tools"]))
        self._program("tests.bench.bare_api", str(ports["bare-api"]))
        self.bare_worker = self._program("tests.bench.bare_worker")
        self._start_ours(directory)
        for url in (self.model_url, self.tool_url, self.bare_url):
            _wait(url)
        admin = {"Authorization": f"Bearer {self.token('admin')}"}
        httpx.post(f"{self.api_url}/v1/tenants", json={"slug": TENANT}, headers=admin).raise_for_status()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _start_ours(self, directory: Path) -> None:
        providers = directory / "providers.yaml"
        priced = {"input_price": "1", "output_price": "2"}
        provider = {"base_url": f"{self.model_url}/v1", "models": {"*": priced}}
        providers.write_text(yaml.safe_dump({"providers": {PROVIDER: provider}}))
        self._added = {"MODEL_PROVIDERS_FILE": str(providers), "EGRESS_ALLOW": urlsplit(self.tool_url).netloc}
        self.api_url = self.stack.add_api(environment=self._added)
        self.stack.add_worker("worker-1", environment=self._added)

    @contextmanager
    def second(self, **settings: str) -> Iterator[str]:
        """A second api, whose URL it is, and a worker beside the first ones, on a task queue of their own."""
        added = {**self._added, "TEMPORAL_TASK_QUEUE": "second", **settings}
        url = self.stack.add_api("api-2", environment=added)
        self.stack.add_worker("worker-2", environment=added)
        try:
            yield url
        finally:
            for name in ("worker-2", "api-2"):
                self.stack.stop_service(name)

    def _program(self, module: str, *arguments: str) -> psutil.Process:
        environment = {**os.environ, **self.stack.environment(), **self._bare_environment()}
        program = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment)
        self._held.callback(program.wait)
        self._held.callback(program.terminate)
        return psutil.Process(program.pid)

    def _bare_environment(self) -> dict[str, str]:
        own = self.stack.environment()
        url = urlsplit(own["DATABASE_MIGRATION_URL"])
        password = quote(own["DATABASE_MIGRATION_PASSWORD"])
        return {
            "BENCH_MODEL_URL": f"{self.model_url}/v1",
            "BENCH_TOOL_URL": self.tool_url,
            "BENCH_DATABASE_URL": f"postgresql://{url.username}:{password}@{url.hostname}:{url.port}{url.path}",
        }

    def script(self, model: str, turns: list[dict[str, Any]]) -> None:
        httpx.post(f"{self.model_url}/control/scripts", json={"model": model, "turns": turns}).raise_for_status()

    def token(self, role: str = "operator", tenant: str = TENANT) -> str:
        return self.stack.token(role=role, tenant=tenant, lifetime=36_000)

    @contextmanager
    def flood(self, tenant: str, agent: str, per_second: int) -> Iterator[None]:
        """Another tenant posts runs as fast as this, whatever it is answered."""
        environment = {**os.environ, "FLOOD_TOKEN": self.token(tenant=tenant)}
        command = [sys.executable, "-m", "tests.bench.flood", self.api_url, agent, str(per_second)]
        program = subprocess.Popen(command, env=environment)
        try:
            yield
            if program.poll() is not None:
                raise RuntimeError("the flood ended by itself")
        finally:
            program.terminate()
            program.wait()

    def processes(self, *names: str) -> list[psutil.Process]:
        return [psutil.Process(pid) for name in names if (pid := self.stack.pid(name)) is not None]


def cpu_seconds(*processes: psutil.Process) -> float:
    """CPU time of processes: by the scheduler's own count on Linux, else to the clock tick."""
    return sum(_scheduled(process.pid) or sum(process.cpu_times()[:2]) for process in processes)


def _scheduled(pid: int) -> float | None:
    try:
        counts = [path.read_text().split()[0] for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        return None
    return sum(map(int, counts)) / 1e9 if counts else None


def _wait(url: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            httpx.get(url)
            return
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
