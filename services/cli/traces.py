"""`agent-runtime traces`: what LangFuse or another observer refused of the tenant's runs, and sending it again."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from services.cli.access import client
from services.cli.output import AsJson, console, print_json, print_table

traces = typer.Typer(no_args_is_help=True, help="See what observers refused, and send it again (role operator).")


@traces.command("refused")
def list_refused(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what an observer would not take, newest first, and why."""
    found = list(islice(client(ctx).traces.refused(page_size=min(limit, 200)), limit))
    if as_json:
        return print_json({"items": [each.as_json() for each in found]})
    rows = [
        (r.run_id, r.kind, r.project, r.status, r.reason, r.attempts, r.refused_at, "yes" if r.retrying else "")
        for r in found
    ]
    heads = ("run", "kind", "project", "status", "why", "attempts", "refused", "retrying")
    print_table(heads, rows, "Nothing was refused.")


@traces.command("retry")
def retry_refused(
    ctx: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="What is of this run; otherwise all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send again what was refused, and scores that nobody took; `traces refused` shows what remains."""
    asked = client(ctx).traces.retry(run)
    if as_json:
        return print_json(asked.as_json())
    console().print(f"{asked.items} to be sent again.")
