"""The calls about the users of a tenant: who there is, and who is kept out."""

from __future__ import annotations

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, tell, walk
from agent_runtime.messages import get, post, present, send
from agent_runtime.models import Block, InvitedUser, User
from agent_runtime.steps import Flow, Plan


def invite_user(
    email: str,
    *,
    role: str | None = None,
    first_name: str | None = None,
    last_name: str | None = None,
    idempotency_key: str | None = None,
) -> Plan[InvitedUser]:
    """Make a user of the tenant at the issuer, in the role `user` (the default) or `operator`.

    The result holds a temporary password, which is kept nowhere; until the user has signed in, the same call gives the
    same result. One who was removed comes back so. Raises `Conflict`, `InvalidRequest`, `DependencyUnavailable`.
    """
    body = present(email=email, role=role, first_name=first_name, last_name=last_name)
    return ask(post("users", body=body, key=idempotency_key), InvitedUser.received)


def list_users(*, page_size: int = 50) -> Flow[User]:
    """Every user of the tenant, as the issuer has them; pages of `page_size` (1 to 100) are fetched as needed."""
    return walk(get("users", params=[("limit", page_size)]), User)


def remove_user(user: str) -> Plan[None]:
    """Keep a user out within a second, and disable it at the issuer. Raises `NotFound`, `DependencyUnavailable`."""
    return tell(send("DELETE", "users", user))


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

    invite = Call(invite_user)
    list = Items(list_users)
    remove = Call(remove_user)
    block = Call(block_user)
    unblock = Call(unblock_user)
    blocks = Items(list_blocks)


class AsyncUsers(AsyncNoun):
    """`client.users`"""

    invite = AsyncCall(invite_user)
    list = AsyncItems(list_users)
    remove = AsyncCall(remove_user)
    block = AsyncCall(block_user)
    unblock = AsyncCall(unblock_user)
    blocks = AsyncItems(list_blocks)
