"""`agent-runtime users`, for operators of a tenant."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from agent_runtime import Block, InvitedUser

from services.cli.access import client
from services.cli.erasures import erase_user
from services.cli.output import AsJson, console, print_facts, print_json, print_table, safe

users = typer.Typer(no_args_is_help=True, help="Invite, list, remove and block users of the tenant (role operator).")

users.command("erase")(erase_user)

Subject = Annotated[str, typer.Argument(metavar="USER", help="Id of the user: the `sub` of its tokens.")]


Role = Annotated[Literal["user", "operator"], typer.Option("--role", help="What the user may do.")]


@users.command("invite")
def invite_user(
    ctx: typer.Context,
    email: Annotated[str, typer.Argument(help="Address, and name at the login.")],
    role: Role = "user",
    first_name: Annotated[str | None, typer.Option("--first-name")] = None,
    last_name: Annotated[str | None, typer.Option("--last-name")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a user of the tenant and print a temporary password, once.

    Repeat it after a failure: it goes on. Until the user has signed in, it prints the same again.
    """
    show_invited(client(ctx).users.invite(email, role=role, first_name=first_name, last_name=last_name), as_json)


@users.command("list")
def list_users(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the users of the tenant, as the issuer has them."""
    found = list(client(ctx).users.list())
    if as_json:
        return print_json({"items": [user.as_json() for user in found]})
    rows = [(u.username, u.role, u.status, "blocked" if u.blocked else "", u.created_at, u.id) for u in found]
    print_table(("user", "role", "status", "", "since", "id"), rows, "There are no users; `users invite` makes one.")


@users.command("remove")
def remove_user(ctx: typer.Context, user: Subject, as_json: AsJson = False) -> None:
    """Keep a user out within a second, and disable it at the issuer."""
    client(ctx).users.remove(user)
    if as_json:
        return print_json({"removed": user})
    console().print(f"Removed {safe(user)}.")


@users.command("block")
def block_user(
    ctx: typer.Context,
    user: Subject,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the next operator.")] = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a user's every request and close its open streams, within a second."""
    show_block(client(ctx).users.block(user, reason=reason), as_json)


@users.command("unblock")
def unblock_user(ctx: typer.Context, user: Subject, as_json: AsJson = False) -> None:
    """Let a blocked user in again."""
    show_block(client(ctx).users.unblock(user), as_json)


@users.command("blocks")
def list_blocks(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List who is blocked."""
    found = list(client(ctx).users.blocks())
    if as_json:
        return print_json({"items": [block.as_json() for block in found]})
    rows = [(block.subject, block.reason, block.blocked_at, block.blocked_by) for block in found]
    print_table(("user", "reason", "since", "by"), rows, "Nobody is blocked.")


def show_block(block: Block, as_json: bool) -> None:
    if as_json:
        return print_json(block.as_json())
    print_facts(
        [("user", block.subject), ("reason", block.reason), ("blocked", block.blocked_at), ("by", block.blocked_by)]
    )


def show_invited(user: InvitedUser, as_json: bool) -> None:
    if as_json:
        return print_json(user.as_json())
    print_facts([("user", user.username), ("role", user.role), ("id", user.id), *password_facts(user)])


def password_facts(user: InvitedUser) -> list[tuple[str, object]]:
    """The temporary password, or how to see it."""
    if user.temporary_password is None:
        return [("temporary password", "repeat the command to see it")]
    return [("temporary password", f"{user.temporary_password}   (shown once; the first login asks for another)")]
