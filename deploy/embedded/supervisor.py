"""Keeps a stack running: starts it, publishes its state, stops it in order when told to."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from deploy.embedded.control import Options
from deploy.embedded.failures import StackFailure, StartFailed
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.probes import http_json
from deploy.embedded.processes import Flag
from deploy.embedded.stack import Stack

DEMO_TENANT = "demo"
# As the command line has it: the platform is not there.
FAILED = 4


def run(options: Options, announce: Callable[[dict[str, Any]], None]) -> None:
    """Run a stack until SIGINT, SIGTERM or the end of its owner; `announce` gets the summary when all is ready."""
    began = options.began or psutil.Process().create_time()
    stack = Stack(options.state_dir, supervise=True)
    interrupted = _on_signals(stack.interrupt)
    try:
        _start(stack, options)
        summary = _summary(stack, options, began)
        stack.on_change = lambda: stack.publish(summary)
        stack.publish(summary)
        announce({**summary, "supervisor": os.getpid(), "services": stack.services()})
        while not interrupted.is_set and (options.owner is None or psutil.pid_exists(options.owner)):
            time.sleep(0.2)
    except StackFailure:
        if not interrupted.is_set:
            raise
    finally:
        stack.stop()


def _start(stack: Stack, options: Options) -> None:
    if options.servers_only:
        stack.start()
        return
    stack.start(api_port=options.port, workers=options.workers, local_model=options.local_model)
    if stack.servers.issuer:
        _make_demo_tenant(stack, options.port)


def _make_demo_tenant(stack: Stack, port: int) -> None:
    headers = {"Authorization": f"Bearer {stack.token(role='admin', subject='embedded-stack')}"}
    status, _ = http_json(port, f"/v1/tenants/{DEMO_TENANT}", headers=headers)
    if status == 404:
        tenant = {"slug": DEMO_TENANT, "name": "Demo"}
        status, answer = http_json(port, "/v1/tenants", method="POST", headers=headers, body=tenant)
        if status not in (201, 409):
            raise StartFailed(f"the tenant {DEMO_TENANT!r} could not be made: status {status}, {answer}")


def _summary(stack: Stack, options: Options, began: float) -> dict[str, Any]:
    cold_start = round(time.time() - began, 2)
    issuer, temporal = stack.servers.issuer, stack.servers.temporal
    return {
        "api_url": None if options.servers_only else f"http://{LOOPBACK}:{options.port}",
        "issuer": stack.environment()["OIDC_ISSUER"],
        "token_url": issuer.token_url if issuer else None,
        "temporal_url": temporal.web_url if temporal else None,
        "state_dir": str(stack.state.path),
        "recovered": stack.recovered,
        "cold_start_seconds": cold_start,
        "memory_mb": stack.memory_mb(),
    }


def _on_signals(interrupt: Callable[[], None]) -> Flag:
    """Note the first signal to end; nothing is raised, which could break a lock in the middle of its use."""
    interrupted = Flag()

    def note(number: int, frame: object) -> None:
        interrupt()
        interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    return interrupted


def _describe(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = ["", "  Agent Runtime is up", ""]
    titles = {"api_url": "API", "issuer": "issuer", "temporal_url": "Temporal's page", "state_dir": "state"}
    lines += [f"  {title:<16} {summary[name]}" for name, title in titles.items() if summary[name]]
    for name, service in summary["services"].items():
        pid = f"process {service['pid']}" if service["pid"] else service["status"]
        lines.append(f"  {name:<16} {service['address']:<22} {pid}")
    lines.append(f"  {'started in':<16} {summary['cold_start_seconds']} s, {summary['memory_mb']:.0f} MB of memory")
    if summary["recovered"]:
        lines.append(f"  {'recovered':<16} {', '.join(summary['recovered'])} had been left running")
    lines += ["", f"  A token: agent-runtime token --tenant {DEMO_TENANT} --role operator", "  Ctrl-C stops it.", ""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--local-model", action="store_true")
    parser.add_argument("--servers-only", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--owner", type=int, help="stop when this process has ended")
    parser.add_argument("--began", type=float, help="when the user asked, in seconds since 1970")
    options = Options(**vars(parser.parse_args()))
    form = (lambda summary: json.dumps(summary, indent=2)) if options.json else _describe
    try:
        run(options, lambda summary: _write(form(summary)))
    except StackFailure as failure:
        problem = {"code": type(failure).__name__, "detail": str(failure)}
        sys.stderr.write((json.dumps(problem) if options.json else f"agent-runtime: {failure}") + "\n")
        return FAILED
    return 0


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
