"""`agent-runtime runs start`."""

from __future__ import annotations

from typing import Annotated

import typer
from agent_runtime import Limits

from services.cli.access import client
from services.cli.following import follow
from services.cli.inputs import labels, run_input
from services.cli.output import AsJson, console, print_json

RunId = Annotated[str, typer.Argument(metavar="ID", help="Id of the run.")]


def start_run(
    ctx: typer.Context,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Slug of the agent.")],
    text: Annotated[
        str | None, typer.Option("--input", metavar="TEXT", help="The user's message; @FILE reads it, - reads stdin.")
    ] = None,
    document: Annotated[
        str | None, typer.Option("--input-json", metavar="JSON", help="Any JSON value; @FILE, - as for --input.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="May be given again.")] = None,
    version: Annotated[int | None, typer.Option("--version", min=1, help="Else the promoted one.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", min=1, max=5, help="1 is first; else 3.")] = None,
    limit_steps: Annotated[int | None, typer.Option("--limit-steps", min=1, help="Model calls.")] = None,
    limit_tokens: Annotated[int | None, typer.Option("--limit-tokens", min=1, help="Tokens, in and out.")] = None,
    limit_cost: Annotated[str | None, typer.Option("--limit-cost", metavar="USD", help="US dollars.")] = None,
    limit_seconds: Annotated[int | None, typer.Option("--limit-seconds", min=1, help="From now.")] = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key never starts a second run.")
    ] = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Show what happens until the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a run. With --follow --json the first line is the run, each further line one event."""
    api = client(ctx)
    run = api.runs.start(
        agent,
        run_input(text, document),
        version=version,
        priority=priority,
        labels=labels(label or []) or None,
        limits=limits(limit_steps, limit_tokens, limit_cost, limit_seconds),
        idempotency_key=key,
    )
    if as_json:
        print_json(run.as_json(), line=following)
    elif following:
        console().print(f"run {run.id}", style="dim")
    else:
        console().print(run.id)
    if following:
        raise typer.Exit(follow(api, run.id, as_json=as_json))


def limits(steps: int | None, tokens: int | None, cost: str | None, seconds: int | None) -> Limits | None:
    """The limits that were given, None when none was."""
    given: Limits = {}
    if steps is not None:
        given["steps"] = steps
    if tokens is not None:
        given["tokens"] = tokens
    if cost is not None:
        given["cost_usd"] = cost
    if seconds is not None:
        given["seconds"] = seconds
    return given or None
