"""The platform's own programs as a stack runs them: migrations, api, workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from deploy.embedded.failures import StartFailed
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.probes import http_request
from deploy.embedded.processes import Program
from deploy.embedded.state import StateDirectory

GRACE_SECONDS = 8


def api_program(name: str, state: StateDirectory, port: int, environment: Mapping[str, str], module: str) -> Program:
    return Program(
        name=name,
        argv=(sys.executable, "-m", module),
        directory=state.run,
        ready=lambda: http_request(port, "/readyz")[0] == 200,
        address=f"{LOOPBACK}:{port}",
        environment={**_inherited(), **environment, "API_HOST": LOOPBACK, "API_PORT": str(port)},
        stop_seconds=1.0,
    )


def worker_program(
    name: str, state: StateDirectory, metrics_port: int, environment: Mapping[str, str], module: str
) -> Program:
    own = {
        "WORKER_NAME": name,
        "WORKER_GRACE_SECONDS": str(GRACE_SECONDS),
        "WORKER_METRICS_PORT": str(metrics_port),
    }
    settings = {**_inherited(), **own, **environment}
    return Program(
        name=name,
        argv=(sys.executable, "-m", module),
        directory=state.run,
        # Any answer but "not yet": a worker that serves metrics only is up when it serves them.
        ready=lambda: http_request(int(settings["WORKER_METRICS_PORT"]), "/readyz")[0] not in (0, 503),
        address=f"{LOOPBACK}:{settings['WORKER_METRICS_PORT']}",
        environment=settings,
        stop_seconds=float(settings["WORKER_GRACE_SECONDS"]) + 0.2,
    )


def migrate(state: StateDirectory, environment: Mapping[str, str]) -> None:
    """Bring the database to the newest schema."""
    log = state.log("migrations")
    with open(log, "ab") as output:
        code = subprocess.run(
            [sys.executable, "-m", "migrations"],
            env={**_inherited(), **environment},
            cwd=state.run,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        ).returncode
    if code != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        raise StartFailed(
            f"the migrations failed (exit code {code}); their log {log} ends with:\n"
            + "\n".join(f"  {line}" for line in tail)
        )


def _inherited() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
