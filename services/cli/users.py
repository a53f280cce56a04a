"""`agent-runtime users`, for operators of a tenant."""

from __future__ import annotations

from typing import Annotated

import typer
from agent_runtime import Block

from services.cli.access import client
from services.cli.output import AsJson, print_facts, print_json, print_table

users = typer.Typer(no_args_is_help=True, help="Keep users of the tenant out (role operator).")

Subject = Annotated[str, typer.Argument(metavar="USER", help="Id of the user: the `sub` of its tokens.")]


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
