"""What other processes do with a stack: start it detached or in their own place, look at it, stop it, delete it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from deploy.embedded.failures import AlreadyRunning, StartFailed, StateRefused
from deploy.embedded.logs import tail
from deploy.embedded.memory import proportional_memory
from deploy.embedded.ports import Ports
from deploy.embedded.probes import http_json
from deploy.embedded.realm import issuer_at
from deploy.embedded.state import StateDirectory, read_json

SUMMARY = "stack.json"
DETACHED_START_SECONDS = 90
SUPERVISOR = (sys.executable, "-P", "-m", "deploy.embedded.supervisor")


@dataclass(frozen=True)
class Options:
    """What a supervisor is to run."""

    state_dir: Path
    port: int = 8080
    workers: int = 1
    local_model: bool = False
    servers_only: bool = False
    json: bool = False
    owner: int | None = None
    began: float | None = None

    def arguments(self) -> list[str]:
        """The supervisor's command line."""
        given = ["--state-dir", str(self.state_dir), "--port", str(self.port), "--workers", str(self.workers)]
        flags = {"--local-model": self.local_model, "--servers-only": self.servers_only, "--json": self.json}
        given += [flag for flag, wanted in flags.items() if wanted]
        for name, value in (("--owner", self.owner), ("--began", self.began)):
            given += [name, str(value)] if value is not None else []
        return given


def become_supervisor(options: Options) -> NoReturn:
    """Run the stack in the place of this process, in the foreground."""
    os.execv(SUPERVISOR[0], [*SUPERVISOR, *options.arguments()])  # noqa: S606 - our own module


def start_detached(options: Options) -> dict[str, Any]:
    """Start a supervisor that outlives this process, and give its summary when everything is ready."""
    state = StateDirectory(options.state_dir)
    state.open()
    if (holder := state.holder()) is not None:
        raise AlreadyRunning(f"a stack is already running on {state.path} (process {holder})")
    log = state.log("supervisor")
    log.unlink(missing_ok=True)
    with open(log, "ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [*SUPERVISOR, *replace(options, json=False).arguments()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACHED_START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        summary = read_json(state.run / SUMMARY)
        if summary and summary.get("supervisor") == process.pid:
            # It is not ours to wait for, which Popen would otherwise complain about.
            process.returncode = 0
            return dict(summary)
        time.sleep(0.05)
    process.terminate()
    process.wait()
    said = "\n".join(tail(log, 10)).removeprefix("agent-runtime: ")
    raise StartFailed(said or f"the supervisor ended at once; see {log}")


def look(state: StateDirectory) -> dict[str, Any]:
    """What a stack is doing now; `running` says whether there is one."""
    state.check_usable()
    summary: dict[str, Any] = {"running": state.holder() is not None, "state_dir": str(state.path)}
    if not summary["running"]:
        return summary
    summary.update(read_json(state.run / SUMMARY) or {"starting": True})
    services = summary.get("services", {})
    summary["memory_mb"] = round(
        proportional_memory({each["pid"] for each in services.values() if each["pid"]}) / 2**20, 1
    )
    if api := services.get("api"):
        status, body = http_json(int(api["address"].rpartition(":")[2]), "/readyz")
        summary["ready"] = body if status else {"status": "down", "detail": "the api does not answer"}
    return summary


def stop_running(state: StateDirectory, seconds: float = 15) -> bool:
    """Stop the stack of another process in order; False when none was running."""
    state.check_usable()
    holder = state.holder()
    if holder is None:
        return False
    os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while state.holder() is not None:
        if time.monotonic() > deadline:
            raise StateRefused(f"the stack (process {holder}) has not stopped within {seconds:.0f} s")
        time.sleep(0.05)
    return True


def issuer_url(state: StateDirectory) -> str:
    """The issuer of a state directory's tokens, also while it does not run."""
    state.check_usable()
    ports = Ports(state.path / "ports.json")
    ports.adopt()
    return issuer_at(ports["issuer"])
