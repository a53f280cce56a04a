"""The platform's own programs as a stack runs them: migrations, api, workers."""

from __future__ import annotations

import base64
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.embedded.failures import StartFailed
from deploy.embedded.logs import tail
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.probes import http_request
from deploy.embedded.processes import Flag, Program, launch, warmed
from deploy.embedded.state import StateDirectory

GRACE_SECONDS = 8
MIGRATION_SECONDS = 600
SECRETS_KEYS = "secrets/keys-of-secrets"
# Our modules are found where they are installed, whatever the current directory holds.
PYTHON = (sys.executable, "-P", "-m")
SERVER_FAMILIES = ("DATABASE_", "REDIS_", "TEMPORAL_", "S3_", "OIDC_", "KEYCLOAK_")


def program_environment(outside: Mapping[str, str], stack: Mapping[str, str]) -> dict[str, str]:
    """What a program of ours sees: what is outside, but of servers only what the stack says."""
    kept = {name: value for name, value in outside.items() if not name.startswith(SERVER_FAMILIES)}
    return {**kept, **stack, "PYTHONUNBUFFERED": "1"}


def secrets_keys(state: StateDirectory, outside: Mapping[str, str]) -> dict[str, str]:
    """The file of the key of tenants' secrets, made once, unless the environment names keys."""
    if outside.get("SECRETS_KEYS") or outside.get("SECRETS_KEYS_FILE"):
        return {}
    state.made_once(SECRETS_KEYS, lambda: f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")
    return {"SECRETS_KEYS_FILE": str(state.path / SECRETS_KEYS)}


def api_program(name: str, port: int, environment: Mapping[str, str], module: str) -> Program:
    return Program(
        name=name,
        argv=(*PYTHON, module),
        directory=Path.cwd(),
        ready=lambda: http_request(port, "/readyz")[0] == 200,
        address=f"{LOOPBACK}:{port}",
        environment={**environment, "API_HOST": LOOPBACK, "API_PORT": str(port)},
        stop_seconds=1.0,
    )


def worker_program(name: str, metrics_port: int, environment: Mapping[str, str], module: str) -> Program:
    own = {
        "WORKER_NAME": name,
        "WORKER_GRACE_SECONDS": str(GRACE_SECONDS),
        "WORKER_METRICS_PORT": str(metrics_port),
    }
    settings = {**own, **environment}
    return Program(
        name=name,
        argv=(*PYTHON, module),
        directory=Path.cwd(),
        # Any answer but "not yet": a worker that serves metrics only is up when it serves them.
        ready=lambda: http_request(int(settings["WORKER_METRICS_PORT"]), "/readyz")[0] not in (0, 503),
        address=f"{LOOPBACK}:{settings['WORKER_METRICS_PORT']}",
        environment=settings,
        stop_seconds=float(settings["WORKER_GRACE_SECONDS"]) + 0.2,
    )


def migrate(
    state: StateDirectory, environment: Mapping[str, str], stopping: Flag, after: Callable[[], None] = lambda: None
) -> None:
    """Bring the database to the newest schema, when `after` returns."""
    log = state.log("migrations")
    program = Program("migrations", (*PYTHON, "migrations.__main__"), Path.cwd(), lambda: True, environment=environment)
    child = launch(warmed(program), log, state.run)
    try:
        after()
        child.release()
        code = child.wait(MIGRATION_SECONDS, stopping)
    finally:
        child.stop(signal.SIGTERM, 1)
    if code != 0:
        end = "\n".join(f"  {line}" for line in tail(log, 8))
        raise StartFailed(f"the migrations failed (exit code {code}); their log {log} ends with:\n{end}")
