"""`agent-runtime service-accounts`, for operators of a tenant."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from agent_runtime import ServiceAccountSecret

from services.cli.access import client
from services.cli.output import AsJson, console, print_facts, print_json, print_table, safe

service_accounts = typer.Typer(
    no_args_is_help=True, help="Clients for CI and backends, which act for the tenant (role operator)."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens.")]


@service_accounts.command("create")
def create_service_account(
    ctx: typer.Context,
    name: Name,
    role: Annotated[Literal["user", "operator"], typer.Option("--role", help="What it may do.")] = "user",
    as_json: AsJson = False,
) -> None:
    """Make a service account and print its secret, once."""
    show_secret(client(ctx).service_accounts.create(name, role=role), as_json)


@service_accounts.command("list")
def list_service_accounts(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the tenant's service accounts."""
    found = list(client(ctx).service_accounts.list())
    if as_json:
        return print_json({"items": [account.as_json() for account in found]})
    rows = [(a.name, a.role, a.client_id or "not made yet", a.created_at, a.rotated_at) for a in found]
    empty = "There are no service accounts; `service-accounts create` makes one."
    print_table(("name", "role", "client", "created", "rotated"), rows, empty)


@service_accounts.command("rotate")
def rotate_service_account(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Give it a new secret, printed once; the one before gets no more tokens."""
    show_secret(client(ctx).service_accounts.rotate(name), as_json)


@service_accounts.command("delete")
def delete_service_account(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Refuse its tokens within a second, and delete its client."""
    client(ctx).service_accounts.delete(name)
    if as_json:
        return print_json({"deleted": name})
    console().print(f"Deleted {safe(name)}.")


def show_secret(account: ServiceAccountSecret, as_json: bool) -> None:
    if as_json:
        return print_json(account.as_json())
    print_facts(
        [
            ("service account", account.name),
            ("role", account.role),
            ("client id", account.client_id),
            ("client secret", account.client_secret or "lost: `service-accounts rotate` makes another"),
            ("token url", account.token_url),
        ]
    )
    console().print(
        "The secret is shown once. Tokens: POST grant_type=client_credentials to the token url.", style="dim"
    )
