"""`agent-runtime secrets`: values come from a prompt or stdin, never from the command line, and are never shown."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from services.cli.access import client
from services.cli.inputs import read_text
from services.cli.output import AsJson, console, print_json, print_table

secrets = typer.Typer(no_args_is_help=True, help="Set, list and delete the tenant's secrets (role operator).")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A letter, then letters, digits, - and _.")]


@secrets.command("set")
def set_secret(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Make or replace a secret. Its value is asked for, or read from stdin (one line break at its end is dropped)."""
    found = client(ctx).secrets.put(name, _value(name))
    if as_json:
        return print_json(found.as_json())
    console().print(f"Set {found.name}.")


@secrets.command("list")
def list_secrets(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the names of the secrets, and who set them when."""
    found = list(client(ctx).secrets.list())
    if as_json:
        return print_json({"items": [secret.as_json() for secret in found]})
    rows = [(secret.name, secret.updated_at, secret.updated_by, secret.created_at) for secret in found]
    print_table(("secret", "set", "by", "created"), rows, "There are no secrets; `secrets set NAME` makes one.")


@secrets.command("delete")
def delete_secret(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Delete a secret: calls that need it fail from now on."""
    client(ctx).secrets.delete(name)
    if as_json:
        return print_json({"deleted": name})
    console().print(f"Deleted {name}.")


def _value(name: str) -> str:
    if sys.stdin.isatty():
        asked: str = typer.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    text = read_text("-", "stdin").removesuffix("\n").removesuffix("\r")
    if not text:
        raise typer.BadParameter("stdin holds no value", param_hint="stdin")
    return text
