"""`agent-runtime agents` and `agent-runtime versions`."""

from __future__ import annotations

from typing import Annotated

import typer
from agent_runtime import Agent, AgentVersion

from services.cli.access import client
from services.cli.inputs import agent_file, spec_file
from services.cli.output import AsJson, console, print_facts, print_json, print_table, value_text

agents = typer.Typer(no_args_is_help=True, help="Create, look at, promote and archive agents.")
versions = typer.Typer(no_args_is_help=True, help="Add versions to an agent.")

Slug = Annotated[str, typer.Argument(metavar="AGENT", help="Slug of the agent.")]
Number = Annotated[int, typer.Argument(metavar="N", min=1, help="Number of the version.")]
File = Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="YAML or JSON; - reads stdin.")]


@agents.command("create")
def create_agent(ctx: typer.Context, file: File, as_json: AsJson = False) -> None:
    """Create an agent from a file of slug, description and spec; the spec becomes version 1, promoted."""
    body = agent_file(file)
    show_agent_of(client(ctx).agents.create(body["slug"], body["spec"], description=body.get("description")), as_json)


@agents.command("list")
def list_agents(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the tenant's agents."""
    found = list(client(ctx).agents.list())
    if as_json:
        return print_json({"items": [agent.as_json() for agent in found]})
    rows = [
        (agent.slug, agent.promoted_version, "archived" if agent.archived_at else "", agent.description)
        for agent in found
    ]
    print_table(("agent", "version", "", "description"), rows, "There are no agents; `agents create -f FILE` adds one.")


@agents.command("show")
def show_agent(ctx: typer.Context, agent: Slug, as_json: AsJson = False) -> None:
    """Show one agent."""
    show_agent_of(client(ctx).agents.get(agent), as_json)


@agents.command("versions")
def list_versions(ctx: typer.Context, agent: Slug, as_json: AsJson = False) -> None:
    """List the versions of an agent."""
    found = list(client(ctx).versions.list(agent))
    if as_json:
        return print_json({"items": [version.as_json() for version in found]})
    rows = [
        (v.number, "promoted" if v.promoted else "", v.spec.get("model"), v.created_at, v.created_by, v.digest[:19])
        for v in found
    ]
    print_table(("version", "", "model", "created", "by", "digest"), rows, "There are no versions.")


@agents.command("promote")
def promote_version(ctx: typer.Context, agent: Slug, number: Number, as_json: AsJson = False) -> None:
    """Make a version the one that new runs get."""
    show_agent_of(client(ctx).versions.promote(agent, number), as_json)


@agents.command("archive")
def archive_agent(ctx: typer.Context, agent: Slug, as_json: AsJson = False) -> None:
    """Archive an agent: it takes no more runs."""
    client(ctx).agents.archive(agent)
    if as_json:
        return print_json({"archived": agent})
    console().print(f"Archived {agent}.")


@versions.command("create")
def create_version(
    ctx: typer.Context,
    agent: Slug,
    file: File,
    promote: Annotated[bool, typer.Option("--promote", help="Promote it at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a version from a file of a spec (or of a whole agent); a spec that is there already is that version."""
    show_version_of(client(ctx).versions.create(agent, spec_file(file), promote=promote), as_json)


@versions.command("show")
def show_version(ctx: typer.Context, agent: Slug, number: Number, as_json: AsJson = False) -> None:
    """Show a version and its spec."""
    show_version_of(client(ctx).versions.get(agent, number), as_json)


def show_agent_of(agent: Agent, as_json: bool) -> None:
    if as_json:
        return print_json(agent.as_json())
    print_facts(
        [
            ("agent", agent.slug),
            ("description", agent.description),
            ("promoted version", agent.promoted_version),
            ("created", agent.created_at),
            ("archived", agent.archived_at),
        ]
    )


def show_version_of(version: AgentVersion, as_json: bool) -> None:
    if as_json:
        return print_json(version.as_json())
    print_facts(
        [
            ("agent", version.agent),
            ("version", version.number),
            ("promoted", "yes" if version.promoted else "no"),
            ("digest", version.digest),
            ("created", version.created_at),
            ("by", version.created_by),
        ]
    )
    typer.echo(value_text(version.spec))
