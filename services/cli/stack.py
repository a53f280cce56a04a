"""The commands that run an embedded stack: up, status, logs, down, destroy, doctor, token."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from deploy.embedded.control import Options, become_supervisor, issuer_url, look, start_detached, stop_running
from deploy.embedded.failures import StackFailure
from deploy.embedded.logs import follow, tail
from deploy.embedded.state import StateDirectory, default_state_directory

NOT_RUNNING = 3

output = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", envvar="AGENT_RUNTIME_STATE_DIR", help="Where the stack keeps its state.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
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
    as_json: JsonOption = False,
) -> None:
    """Run PostgreSQL, Valkey, an S3 store, Temporal, an issuer, the API and workers, all on this machine.

    In the foreground until Ctrl-C, or with --detach until `down`. Exits with 1 when something could not start.
    """
    began = psutil.Process().create_time()
    options = Options(_state(state_dir).path, port, workers, local_model, json=as_json, began=began)
    with _explained():
        if not detach:
            if not as_json:
                errors.print("Starting Agent Runtime …", style="dim")
            become_supervisor(options)
        summary = start_detached(options)
    if as_json:
        output.print_json(data=summary)
    else:
        _print_status({**summary, "running": True})


def status(state_dir: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what runs, where, and how it fares; exits with 3 when nothing runs."""
    with _explained():
        seen = look(_state(state_dir))
    if as_json:
        output.print_json(data=seen)
    else:
        _print_status(seen)
    if not seen["running"]:
        raise typer.Exit(NOT_RUNNING)


def logs(
    service: Annotated[str | None, typer.Argument(help="One service; else all of them.", show_default=False)] = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the logs of the stack's services."""
    state = _state(state_dir)
    with _explained():
        state.check_usable()
        known = {path.stem: path for path in sorted((state.path / "logs").glob("*.log"))}
        if service and service not in known:
            raise StackFailure(f"there is no log of {service!r}; there are {', '.join(known) or 'none'}")
    chosen = {service: known[service]} if service else known
    for name, path in chosen.items():
        for line in tail(path, lines):
            _print_line(name, line, as_json)
    if following:
        try:
            for path, line in follow(chosen.values()):
                _print_line(path.stem, line, as_json)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def down(state_dir: StateOption = None, as_json: JsonOption = False) -> None:
    """Stop the stack in order; its state stays. Stopping what does not run is fine."""
    began = time.monotonic()
    with _explained():
        stopped = stop_running(_state(state_dir))
    seconds = round(time.monotonic() - began, 2)
    if as_json:
        output.print_json(data={"stopped": stopped, "seconds": seconds})
    else:
        output.print(f"Stopped in {seconds} s." if stopped else "Nothing was running.")


def destroy(
    state_dir: StateOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop the stack and delete its state: every run, agent, artifact and key."""
    state = _state(state_dir)
    with _explained():
        state.check_usable()
        if not yes:
            typer.confirm(f"Delete everything in {state.path}?", abort=True, err=True)
        stop_running(state)
        state.destroy()
    if as_json:
        output.print_json(data={"destroyed": str(state.path)})
    else:
        output.print(f"Deleted {state.path}.")


def doctor(state_dir: StateOption = None, port: PortOption = 8080, as_json: JsonOption = False) -> None:
    """Look whether this machine can run a stack, and how a running one fares; exits with 1 when not."""
    # Loads every server's module, which no other command wants.
    examine = importlib.import_module("deploy.embedded.doctor").examine
    findings = examine(_state(state_dir).path, port)
    fine = all(finding["ok"] for finding in findings)
    if as_json:
        output.print_json(data={"ok": fine, "findings": findings})
    else:
        for finding in findings:
            mark = "[green]ok[/]  " if finding["ok"] else "[red]bad[/] "
            output.print(mark, f"{finding['name']:<16}", finding["detail"], highlight=False)
    raise typer.Exit(0 if fine else 1)


def token(
    role: Annotated[str, typer.Option("--role", help="admin, operator or user.")] = "operator",
    tenant: Annotated[str, typer.Option("--tenant", help="Slug or id; an admin has none.")] = "demo",
    subject: Annotated[str, typer.Option("--subject", help="Who the token is for.")] = "local",
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print an access token of the embedded issuer, good for five minutes."""
    with _explained():
        access_token = mint_token(_state(state_dir), role=role, tenant=tenant, subject=subject)
    if as_json:
        output.print_json(data={"access_token": access_token, "token_type": "Bearer", "expires_in": 300})
    else:
        typer.echo(access_token)


def mint_token(state: StateDirectory, *, role: str, tenant: str, subject: str) -> str:
    """A token of a state directory's issuer, without asking the issuer."""
    # Loads the cryptography that only this needs.
    tokens: Any = importlib.import_module("deploy.embedded.tokens")
    signer = tokens.TokenSigner(state, issuer_url(state))
    return str(signer.mint(role=role, tenant=None if role == "admin" else tenant, subject=subject))


def _state(given: Path | None) -> StateDirectory:
    return StateDirectory(given or default_state_directory())


@contextmanager
def _explained() -> Iterator[None]:
    """A failure is told in words, with exit code 1."""
    try:
        yield
    except StackFailure as failure:
        errors.print(f"[red]agent-runtime:[/] {failure}", highlight=False)
        raise typer.Exit(1) from None


def _print_status(seen: dict[str, Any]) -> None:
    if not seen["running"]:
        output.print(f"Nothing runs on {seen['state_dir']}; start it with `agent-runtime up`.")
        return
    services = seen.get("services", {})
    table = Table("service", "status", "address", "process", "restarts", box=None, padding=(0, 2, 0, 0))
    for name, service in services.items():
        colour = "green" if service["status"] in ("running", "outside") else "yellow"
        cells = (service["address"], str(service["pid"] or ""), str(service["restarts"] or ""))
        table.add_row(name, f"[{colour}]{service['status']}[/]", *cells)
    output.print(table if services else "It is starting.")
    for title, name in (("API", "api_url"), ("issuer", "issuer"), ("Temporal", "temporal_url"), ("state", "state_dir")):
        if seen.get(name):
            output.print(f"{title:<9}", seen[name], highlight=False)
    if "memory_mb" in seen:
        output.print(f"started in {seen['cold_start_seconds']} s, {seen['memory_mb']:.0f} MB of memory", style="dim")


def _print_line(name: str, line: str, as_json: bool) -> None:
    if as_json:
        output.print_json(data={"service": name, "line": line}, indent=None)
    else:
        output.print(f"{name:<13}", line, markup=False, highlight=False)
