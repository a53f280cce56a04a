"""`agent-runtime runs explain`."""

from __future__ import annotations

import typer
from agent_runtime import Explanation

from services.cli.access import client
from services.cli.output import AsJson, console, print_json, safe
from services.cli.running import RunId


def explain_run(ctx: typer.Context, run: RunId, as_json: AsJson = False) -> None:
    """Tell what a run is doing or waiting for, why, what it cost, and what to do now.

    It is answered from the run's log, also while no worker is alive or Temporal is down.
    """
    found = client(ctx).runs.explain(run)
    if as_json:
        return print_json(found.as_json())
    show_explanation(found)


def show_explanation(found: Explanation) -> None:
    out = console()
    for line in found.text.splitlines():
        out.print(safe(line))
    if not found.actions:
        return
    out.print("\nYou can:", style="bold")
    for action in found.actions:
        out.print(f"- {safe(action.text)}")
        if action.command:
            out.print(f"    {safe(action.command)}", style="cyan")
