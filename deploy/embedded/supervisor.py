"""Keeps a stack running: starts it, publishes its state, stops it in order when told to."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deploy.embedded.binaries import ProgramNotFound
from deploy.embedded.local_model import ModelNotFound
from deploy.embedded.logs import tail
from deploy.embedded.ports import LOOPBACK, is_free
from deploy.embedded.probes import http_request
from deploy.embedded.service import StartFailed
from deploy.embedded.stack import SUMMARY, Stack
from deploy.embedded.state import AlreadyRunning, StateDirectory, StateRefused, read_json

DEMO_TENANT = "demo"
DETACHED_START_SECONDS = 90
FAILURES = (StateRefused, StartFailed, ProgramNotFound, ModelNotFound)


@dataclass(frozen=True)
class Options:
    """What to run."""

    state_dir: Path
    port: int = 8080
    workers: int = 1
    local_model: bool = False
    servers_only: bool = False
    owner: int | None = None
    began: float | None = None


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived."""


def run(options: Options, announce: Callable[[dict[str, Any]], None]) -> None:
    """Run a stack until SIGINT, SIGTERM or the end of its owner; `announce` gets the summary when all is ready."""
    began = options.began or psutil.Process().create_time()
    stack = Stack(options.state_dir, supervise=True)
    _raise_on_signals()
    try:
        _start(stack, options)
        summary = _summary(stack, options, began)
        stack.on_change = lambda: stack.publish(summary)
        stack.publish(summary)
        announce({**summary, "supervisor": os.getpid(), "services": stack.services()})
        while options.owner is None or psutil.pid_exists(options.owner):
            time.sleep(1)
    except Interrupted:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        stack.stop()


def _start(stack: Stack, options: Options) -> None:
    if options.servers_only:
        stack.start()
        return
    if not is_free(options.port) and stack.state.holder() is None:
        raise StateRefused(f"port {options.port} on {LOOPBACK} is taken; choose another one with --port")
    stack.start(api_port=options.port, workers=options.workers, local_model=options.local_model)
    if stack.servers.issuer:
        _make_demo_tenant(stack, options.port)


def _make_demo_tenant(stack: Stack, port: int) -> None:
    headers = {"Authorization": f"Bearer {stack.token(role='admin', subject='embedded-stack')}"}
    status, _ = http_request(port, f"/v1/tenants/{DEMO_TENANT}", headers=headers)
    if status == 404:
        tenant = {"slug": DEMO_TENANT, "name": "Demo"}
        status, body = http_request(port, "/v1/tenants", method="POST", headers=headers, body=tenant)
        if status not in (201, 409):
            raise StartFailed(f"the tenant {DEMO_TENANT!r} could not be made: status {status}, {body[:300]!r}")


def _summary(stack: Stack, options: Options, began: float) -> dict[str, Any]:
    cold_start = round(time.time() - began, 2)
    issuer, temporal = stack.servers.issuer, stack.servers.temporal
    return {
        "api_url": None if options.servers_only else f"http://{LOOPBACK}:{options.port}",
        "issuer": issuer.url if issuer else stack.environment()["OIDC_ISSUER"],
        "token_url": issuer.token_url if issuer else None,
        "temporal_url": temporal.web_url if temporal else None,
        "state_dir": str(stack.state.path),
        "recovered": stack.recovered,
        "cold_start_seconds": cold_start,
        "memory_mb": stack.memory_mb(),
    }


def _raise_on_signals() -> None:
    def interrupt(number: int, frame: object) -> None:
        # Once is enough: a second one must not break the orderly stop.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)


def start_detached(options: Options) -> dict[str, Any]:
    """Start a supervisor that outlives this process, and give its summary when everything is ready."""
    state = StateDirectory(options.state_dir)
    state.open()
    if (holder := state.holder()) is not None:
        raise AlreadyRunning(
            f"a stack is already running on {state.path} (process {holder}); see `agent-runtime status`"
        )
    log = state.log("supervisor")
    with open(log, "ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "deploy.embedded.supervisor", *_arguments(options)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=state.path,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACHED_START_SECONDS
    while time.monotonic() < deadline:
        summary = read_json(state.run / SUMMARY)
        if summary and summary.get("supervisor") == process.pid:
            return dict(summary)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.terminate()
    raise StartFailed("\n".join(tail(log, 10)) or f"the supervisor ended at once; see {log}")


def stop_running(state: StateDirectory, seconds: float = 15) -> bool:
    """Stop the stack of another process in order; False when none was running."""
    holder = state.holder()
    if holder is None:
        return False
    os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while state.exists and state.holder() is not None:
        if time.monotonic() > deadline:
            raise StateRefused(f"the stack (process {holder}) has not stopped within {seconds:.0f} s")
        time.sleep(0.05)
    return True


def _arguments(options: Options) -> list[str]:
    arguments = ["--state-dir", str(options.state_dir), "--port", str(options.port), "--workers", str(options.workers)]
    flags = {"--local-model": options.local_model, "--servers-only": options.servers_only}
    arguments += [flag for flag, wanted in flags.items() if wanted]
    for name, value in (("--owner", options.owner), ("--began", options.began)):
        arguments += [name, str(value)] if value is not None else []
    return arguments


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--local-model", action="store_true")
    parser.add_argument("--servers-only", action="store_true")
    parser.add_argument("--owner", type=int, help="stop when this process has ended")
    parser.add_argument("--began", type=float, help="when the user asked, in seconds since 1970")
    try:
        run(Options(**vars(parser.parse_args())), lambda summary: _write(json.dumps(summary)))
    except FAILURES as failure:
        _write(str(failure))
        return 1
    return 0


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
