"""`agent-runtime erasures`: how far erasures have come, and whether anything is left."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from agent_runtime import Erasure

from services.cli.access import client
from services.cli.exits import RUN_FAILED
from services.cli.output import AsJson, print_facts, print_json, print_table, safe
from services.cli.running import RunId

erasures = typer.Typer(no_args_is_help=True, help="Look at erasures, and check again that nothing is left.")

Id = Annotated[str, typer.Argument(metavar="ERASURE", help="Id of the erasure.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Waiting = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until it is done.")]


@erasures.command("list")
def list_erasures(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List erasures, newest first; with --role admin those of whole tenants."""
    found = list(islice(client(ctx).erasures.list(page_size=min(limit, 200)), limit))
    if as_json:
        return print_json({"items": [each.as_json() for each in found]})
    rows = [(e.id, e.kind, _of(e), e.status, e.waiting_for, e.created_at, e.finished_at) for e in found]
    print_table(("erasure", "of", "which", "status", "waits for", "asked", "done"), rows, "There are no erasures.")


@erasures.command("show")
def show_erasure(ctx: typer.Context, erasure: Id, wait: Waiting = 0, as_json: AsJson = False) -> None:
    """Show an erasure; with --wait exits with 1 when it is not done by then."""
    api = client(ctx)
    found = api.erasures.wait(erasure, wait) if wait else api.erasures.get(erasure)
    show_erasure_of(found, as_json)
    if wait and not found.done:
        raise typer.Exit(RUN_FAILED)


@erasures.command("check")
def check_erasure(ctx: typer.Context, erasure: Id, as_json: AsJson = False) -> None:
    """Look again whether nothing is left, and erase what is found."""
    show_erasure_of(client(ctx).erasures.check(erasure), as_json)


def delete_run(ctx: typer.Context, run: RunId, yes: Yes = False, as_json: AsJson = False) -> None:
    """Erase a run that has ended, with its events, files and workflow; there is no way back."""
    if not yes:
        typer.confirm(f"Erase the run {safe(run)} with everything it left?", abort=True, err=True)
    show_erasure_of(client(ctx).runs.delete(run), as_json)


def erase_user(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="Id of the user: the `sub` of its tokens.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase a user's runs, files and kept answers in this tenant; there is no way back."""
    if not yes:
        typer.confirm(f"Erase all runs and files of the user {safe(user)}?", abort=True, err=True)
    show_erasure_of(client(ctx).erasures.erase_user(user), as_json)


def show_erasure_of(erasure: Erasure, as_json: bool) -> None:
    if as_json:
        return print_json(erasure.as_json())
    print_facts(
        [
            ("erasure", erasure.id),
            ("of", f"{erasure.kind} {_of(erasure)}"),
            ("status", erasure.status),
            ("waits for", erasure.waiting_for),
            ("found", erasure.found),
            ("removed", erasure.removed),
            ("remaining", {store: count for store, count in (erasure.remaining or {}).items() if count}),
            ("asked", erasure.created_at),
            ("checked", erasure.checked_at),
            ("done", erasure.finished_at),
        ]
    )


def _of(erasure: Erasure) -> str:
    return str(erasure.run_id or erasure.user or erasure.tenant or f"before {erasure.finished_before}")
