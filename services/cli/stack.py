"""The commands that run an embedded stack: up, status, logs, down, destroy, doctor, token."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
import typer

from deploy.embedded.connection import token_provider
from deploy.embedded.control import Options, become_supervisor, look, start_detached, stop_running
from deploy.embedded.failures import StateRefused
from deploy.embedded.logs import follow, tail
from deploy.embedded.state import StateDirectory, default_state_directory
from deploy.embedded.tokens import LIFETIME_SECONDS
from services.cli.exits import INTERRUPTED, UNREACHABLE
from services.cli.output import AsJson, console, error_console, print_facts, print_json, print_table, safe

StateOption = Annotated[
    Path | None,
    typer.Option("--state-dir", envvar="AGENT_RUNTIME_STATE_DIR", help="Where the stack keeps its state."),
]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the API on 127.0.0.1.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, status, logs, down, destroy, doctor, token):
        app.command(rich_help_panel="Embedded stack")(command)


def up(
    state_dir: StateOption = None,
    port: PortOption = 8080,
    workers: Annotated[int, typer.Option("--workers", min=0, max=16, help="How many workers.")] = 1,
    local_model: Annotated[bool, typer.Option("--local-model", help="Also serve a small local model.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run PostgreSQL, Valkey, an S3 store, Temporal, an issuer, the API and workers, all on this machine.

    In the foreground until Ctrl-C, or with --detach until `down`.
    """
    began = psutil.Process().create_time()
    options = Options(_state(state_dir).path, port, workers, local_model, json=as_json, began=began)
    if not as_json:
        error_console().print("Starting Agent Runtime …", style="dim")
    if not detach:
        become_supervisor(options)
    summary = start_detached(options)
    if as_json:
        return print_json(summary)
    _print_status({**summary, "running": True})


def status(state_dir: StateOption = None, as_json: AsJson = False) -> None:
    """Show what runs, where, and how it fares; exits with 4 when nothing runs."""
    seen = look(_state(state_dir))
    if as_json:
        print_json(seen)
    else:
        _print_status(seen)
    if not seen["running"]:
        raise typer.Exit(UNREACHABLE)


def logs(
    service: Annotated[str | None, typer.Argument(help="One service; else all of them.")] = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    state_dir: StateOption = None,
    as_json: AsJson = False,
) -> None:
    """Show the logs of the stack's services."""
    state = _state(state_dir)
    state.check_usable()
    known = {path.stem: path for path in sorted((state.path / "logs").glob("*.log"))}
    if service and service not in known:
        raise StateRefused(f"there is no log of {service!r}; there are {', '.join(known) or 'none'}")
    chosen = {service: known[service]} if service else known
    for name, path in chosen.items():
        for line in tail(path, lines):
            _print_line(name, line, as_json)
    if following:
        try:
            for path, line in follow(chosen.values()):
                _print_line(path.stem, line, as_json)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def down(state_dir: StateOption = None, as_json: AsJson = False) -> None:
    """Stop the stack in order; its state stays. Stopping what does not run is fine."""
    began = time.monotonic()
    stopped = stop_running(_state(state_dir))
    seconds = round(time.monotonic() - began, 2)
    if as_json:
        return print_json({"stopped": stopped, "seconds": seconds})
    console().print(f"Stopped in {seconds} s." if stopped else "Nothing was running.")


def destroy(
    state_dir: StateOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the stack and delete its state: every run, agent, artifact and key."""
    state = _state(state_dir)
    state.check_usable()
    if not yes:
        typer.confirm(f"Delete everything in {state.path}?", abort=True, err=True)
    stop_running(state)
    state.destroy()
    if as_json:
        return print_json({"destroyed": str(state.path)})
    console().print(f"Deleted {state.path}.")


def doctor(state_dir: StateOption = None, port: PortOption = 8080, as_json: AsJson = False) -> None:
    """Look whether this machine can run a stack, and how a running one fares; exits with 4 when not."""
    # Loads every server's module, which no other command wants.
    examine = importlib.import_module("deploy.embedded.doctor").examine
    findings = examine(_state(state_dir).path, port)
    fine = all(finding["ok"] for finding in findings)
    if as_json:
        print_json({"ok": fine, "findings": findings})
    else:
        rows = [("ok" if finding["ok"] else "BAD", finding["name"], finding["detail"]) for finding in findings]
        print_table(("", "what", "found"), rows, empty="")
    raise typer.Exit(0 if fine else UNREACHABLE)


def token(
    role: Annotated[Literal["admin", "operator", "user"], typer.Option(help="What the token allows.")] = "operator",
    tenant: Annotated[str, typer.Option("--tenant", help="Slug or id; an admin has none.")] = "demo",
    subject: Annotated[str, typer.Option("--subject", help="Who the token is for.")] = "local",
    state_dir: StateOption = None,
    as_json: AsJson = False,
) -> None:
    """Print an access token of the embedded issuer, good for five minutes."""
    state = _state(state_dir)
    state.check_usable()
    access_token = token_provider(state, tenant=tenant, role=role, subject=subject)()
    if as_json:
        return print_json({"access_token": access_token, "token_type": "Bearer", "expires_in": LIFETIME_SECONDS})
    typer.echo(access_token)


def _state(given: Path | None) -> StateDirectory:
    return StateDirectory(given or default_state_directory())


def _print_status(seen: dict[str, Any]) -> None:
    if not seen["running"]:
        return console().print(f"Nothing runs on {seen['state_dir']}; start it with `agent-runtime up`.")
    services = seen.get("services", {})
    rows = [(name, each["status"], each["address"], each["pid"], each["restarts"]) for name, each in services.items()]
    print_table(("service", "status", "address", "process", "restarts"), rows, empty="It is starting.")
    facts = (("API", "api_url"), ("issuer", "issuer"), ("Temporal", "temporal_url"), ("state", "state_dir"))
    print_facts((title, seen.get(name)) for title, name in facts)
    if "ready" in seen:
        print_facts([("ready", seen["ready"]["status"])])
    if "cold_start_seconds" in seen:
        said = f"started in {seen['cold_start_seconds']} s, {seen['memory_mb']:.0f} MB of memory"
        console().print(said, style="dim")


def _print_line(name: str, line: str, as_json: bool) -> None:
    if as_json:
        return print_json({"service": name, "line": line}, line=True)
    console().print(f"{name:<13}", safe(line))
