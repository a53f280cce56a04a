"""`agent-runtime`, the command: global options, the groups of commands, and how failures are told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from services.cli import login, stack
from services.cli.access import Access, client
from services.cli.agents import agents, versions
from services.cli.artifacts import artifacts
from services.cli.audit import audit
from services.cli.environment import env
from services.cli.erasures import erasures
from services.cli.exits import EPILOG, EXPECTED, as_document, exit_code, explanation
from services.cli.isolation.command import check_isolation
from services.cli.output import AsJson, console, error_console, json_wanted, print_json, safe
from services.cli.plans import plans
from services.cli.prices import prices
from services.cli.runs import runs
from services.cli.secrets import secrets
from services.cli.service_accounts import service_accounts
from services.cli.tenants import tenants
from services.cli.traces import traces
from services.cli.usage import show_usage
from services.cli.users import users

STATE_DIR = "AGENT_RUNTIME_STATE_DIR"


class ExplainingGroup(TyperGroup):
    """Tells expected failures in words and by exit code, never by a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read the output has had enough
        except EXPECTED as failure:
            tell(failure, as_json=json_wanted(ctx))
            raise typer.Exit(exit_code(failure)) from None


app = typer.Typer(
    cls=ExplainingGroup,
    name="agent-runtime",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    epilog=EPILOG,
)


@app.callback()
def options(
    ctx: typer.Context,
    api_url: Annotated[
        str | None,
        typer.Option(
            envvar="AGENT_RUNTIME_API_URL", help="Where the API is; else the last login's, else the embedded stack."
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="AGENT_RUNTIME_TOKEN_FILE", help="File of the bearer token; else AGENT_RUNTIME_TOKEN holds it."
        ),
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(envvar=STATE_DIR, help="State of the embedded stack.")] = None,
    tenant: Annotated[
        str, typer.Option(envvar="AGENT_RUNTIME_TENANT", help="Tenant of the embedded stack to act in.")
    ] = "demo",
    role: Annotated[
        str | None, typer.Option(help="Role to act in at the embedded stack: admin, operator or user.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run AI agents as durable jobs.

    Without --api-url the commands use the API that you logged in to, or the embedded stack of this machine
    (`agent-runtime up`), token included. A token that is given goes before a login.
    """
    if state_dir is not None:
        os.environ[STATE_DIR] = str(state_dir)  # the stack's own commands read it there
    if as_json:
        ctx.default_map = wanting_json(ctx.command)
    if ctx.obj is None:
        token = os.environ.get("AGENT_RUNTIME_TOKEN")
        ctx.obj = Access(api_url, token, token_file, state_dir, tenant, role)


@app.command("version")
def show_version(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the version of the API."""
    found = client(ctx).version()
    if as_json:
        return print_json(found.as_json())
    console().print(f"Agent Runtime {safe(found.version)}, API {safe(found.api)}")


for group, name in (
    (agents, "agents"),
    (versions, "versions"),
    (runs, "runs"),
    (artifacts, "artifacts"),
    (audit, "audit"),
    (erasures, "erasures"),
    (secrets, "secrets"),
    (tenants, "tenants"),
    (users, "users"),
    (service_accounts, "service-accounts"),
    (plans, "plans"),
    (prices, "prices"),
    (traces, "traces"),
):
    app.add_typer(group, name=name)
login.register(app)
app.command("usage")(show_usage)
app.command("isolation-check")(check_isolation)
stack.register(app)
app.command("env", rich_help_panel="docker compose")(env)


def wanting_json(command: Any) -> dict[str, Any]:
    """Defaults that switch --json on for every command below."""
    below = getattr(command, "commands", {})
    return {
        name: wanting_json(each) if hasattr(each, "commands") else {"as_json": True} for name, each in below.items()
    }


def tell(failure: Exception, *, as_json: bool) -> None:
    """Print a failure to stderr."""
    if as_json:
        print_json(as_document(failure), line=True, err=True)
    else:
        error_console().print("agent-runtime: ", safe(explanation(failure)), sep="", style="red")


def run() -> None:
    """The entry point of the command `agent-runtime`."""
    app()


if __name__ == "__main__":
    run()
