"""`agent-runtime runs`: look at runs and control them; `running.py` starts and follows them."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from agent_runtime import Run

from services.cli.access import client
from services.cli.erasures import delete_run
from services.cli.explaining import explain_run
from services.cli.following import explain_event, follow
from services.cli.inputs import labels
from services.cli.output import AsJson, console, cost_text, print_facts, print_json, print_table, value_text
from services.cli.running import RunId, start_run
from services.cli.scores import list_scores, score_run

runs = typer.Typer(no_args_is_help=True, help="Start, follow, look at and control runs.")
runs.command("start")(start_run)
runs.command("explain")(explain_run)
runs.command("score")(score_run)
runs.command("scores")(list_scores)
runs.command("delete")(delete_run)

Reason = Annotated[str | None, typer.Option("--reason", help="Kept with the event.")]


@runs.command("list")
def list_runs(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only of this status; may be given again.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only runs of this agent.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="Only with this label.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    listed = client(ctx).runs.list(status=status, agent=agent, labels=labels(label or []), page_size=min(limit, 200))
    found = list(islice(listed, limit))
    if as_json:
        return print_json({"items": [run.as_json() for run in found]})
    rows = [
        (r.id, r.agent, r.version, r.waiting_for or r.status, r.steps, r.usage.cost_usd, r.created_at, r.labels)
        for r in found
    ]
    columns = ("run", "agent", "version", "status", "steps", "USD", "created", "labels")
    print_table(columns, rows, "There are no such runs.")


@runs.command("show")
def show_run(
    ctx: typer.Context,
    run: RunId,
    wait: Annotated[float, typer.Option("--wait", min=0, max=60, help="Seconds to wait for its end.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show a run, its output and what it cost."""
    show_run_of(client(ctx).runs.get(run, wait=wait), as_json)


@runs.command("events")
def show_events(
    ctx: typer.Context,
    run: RunId,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Begin after this event.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show a run's events. With --follow the exit code tells its end, as for `runs start --follow`."""
    api = client(ctx)
    if following:
        raise typer.Exit(follow(api, run, after=after, as_json=as_json))
    for event in api.runs.events(run, after):
        if as_json:
            print_json(event.as_json(), line=True)
        else:
            console().print(f"{event.seq:>5}  {event.at:%H:%M:%S}  " if event.at else f"{event.seq:>5}  ", end="")
            console().print(explain_event(event))


@runs.command("pause")
def pause_run(ctx: typer.Context, run: RunId, reason: Reason = None, as_json: AsJson = False) -> None:
    """Ask a run to stop at its next safe point."""
    show_control_of(client(ctx).runs.pause(run, reason=reason), as_json)


@runs.command("resume")
def resume_run(ctx: typer.Context, run: RunId, reason: Reason = None, as_json: AsJson = False) -> None:
    """Let a paused run go on."""
    show_control_of(client(ctx).runs.resume(run, reason=reason), as_json)


@runs.command("cancel")
def cancel_run(ctx: typer.Context, run: RunId, reason: Reason = None, as_json: AsJson = False) -> None:
    """Ask a run to end."""
    show_control_of(client(ctx).runs.cancel(run, reason=reason), as_json)


def show_control_of(run: Run, as_json: bool) -> None:
    if as_json:
        return print_json(run.as_json())
    console().print(f"Run {run.id} is {run.status}.")


def show_run_of(run: Run, as_json: bool) -> None:
    if as_json:
        return print_json(run.as_json())
    usage = run.usage
    print_facts(
        [
            ("run", run.id),
            ("agent", f"{run.agent} version {run.version}"),
            ("status", f"{run.status} ({run.waiting_for})" if run.waiting_for else run.status),
            ("error", f"{run.error.code}: {run.error.message}" if run.error else None),
            ("labels", run.labels),
            ("created", run.created_at),
            ("by", run.created_by),
            ("finished", run.finished_at),
            ("steps", run.steps),
            ("tokens", f"{usage.input_tokens} in, {usage.output_tokens} out"),
            ("cost", cost_text(usage)),
        ]
    )
    if run.output is not None:
        typer.echo(f"\n{value_text(run.output)}")
