"""The calls about the users of a tenant: who is kept out."""

from __future__ import annotations

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, walk
from agent_runtime.messages import get, post, present
from agent_runtime.models import Block
from agent_runtime.steps import Flow, Plan


def block_user(user: str, *, reason: str | None = None, idempotency_key: str | None = None) -> Plan[Block]:
    """Refuse a user's every request and close its open streams, within a second, whatever its token says.

    `user` is the `sub` of its tokens. An operator blocks in its own tenant, an administrator among administrators.
    Raises `Conflict` for the caller itself.
    """
    return ask(post("users", user, "block", body=present(reason=reason), key=idempotency_key), Block.received)


def unblock_user(user: str, *, idempotency_key: str | None = None) -> Plan[Block]:
    """Let a blocked user in again; the result is the block that ended. Raises `NotFound`."""
    return ask(post("users", user, "unblock", key=idempotency_key), Block.received)


def list_blocks(*, page_size: int = 50) -> Flow[Block]:
    """Everybody who is blocked; pages of `page_size` (1 to 200) are fetched as needed."""
    return walk(get("blocks", params=[("limit", page_size)]), Block)


class Users(Noun):
    """`client.users`"""

    block = Call(block_user)
    unblock = Call(unblock_user)
    blocks = Items(list_blocks)


class AsyncUsers(AsyncNoun):
    """`client.users`"""

    block = AsyncCall(block_user)
    unblock = AsyncCall(unblock_user)
    blocks = AsyncItems(list_blocks)
