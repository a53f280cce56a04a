"""Making a user of a tenant at the issuer: each step is recorded once it is done, and a repetition goes on from there.

The temporary password is kept nowhere. It follows from the provisioning client's secret and the invitation, so that who
lost an answer gets the same one by asking again, until the user has signed in.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clients import keycloak_users
from libs.clients.keycloak import Keycloak
from libs.clients.keycloak_users import User
from libs.database import audit, provisioning
from libs.database.provisioning import USER, StepRow
from libs.domain.errors import Conflict
from services.api.dependencies import Call
from services.api.schemas.users import OperatorInvite, UserInvite

WANTED, MADE, ROLE = "wanted", "made", "role"


class OfAnotherTenant(Conflict):
    """The name is that of a user who is not of this tenant."""


class Invitee(NamedTuple):
    username: str
    role: str
    first_name: str | None
    last_name: str | None

    @classmethod
    def of(cls, sent: OperatorInvite) -> Invitee:
        """Somebody is invited as an operator, unless the invitation names a role."""
        role = sent.role if isinstance(sent, UserInvite) else "operator"
        return cls(sent.username, role, sent.first_name, sent.last_name)


class Invited(NamedTuple):
    user: User
    role: str
    password: str


async def want(
    connection: AsyncConnection, tenant_id: UUID, invitee: Invitee, by: str, *, first_operator: bool = False
) -> bool:
    """Record who is to become a user, the beginning of every invitation; whether that is new.

    Raises:
        Conflict: another invitation of this user is on its way.
    """
    wanted = {"role": invitee.role, "first_operator": first_operator}
    done = await provisioning.done(connection, USER, invitee.username)
    if WANTED not in done:
        nonce = secrets.token_urlsafe(12)
        text = json.dumps(wanted | {"nonce": nonce}, sort_keys=True)
        await provisioning.record(connection, tenant_id, USER, invitee.username, WANTED, text, by)
        return True
    known = json.loads(done[WANTED].result)
    if known["role"] != invitee.role:
        raise Conflict(f"{invitee.username} was invited as {known['role']} before. Remove the user first.")
    return False


async def wanted_as_first_operator(connection: AsyncConnection, username: str) -> bool:
    """Whether the tenant was made with this first operator."""
    done = await provisioning.done(connection, USER, username)
    return WANTED in done and bool(json.loads(done[WANTED].result)["first_operator"])


async def invite(call: Call, keycloak: Keycloak, tenant_id: UUID, names: tuple[str, ...], invitee: Invitee) -> Invited:
    """Do what is left of an invitation that is wanted; `names` are the tenant's id and slug.

    Raises:
        Conflict: the name is another user's, or the user has signed in already.
        DependencyUnavailable: Keycloak is away; repeating goes on.
    """
    database = call.services.database
    async with database.tenant(tenant_id) as connection:
        done = await provisioning.done(connection, USER, invitee.username)
    password = _password(keycloak, tenant_id, invitee.username, done)
    user = await _made(keycloak, tenant_id, names, invitee, password, done)
    if MADE not in done:
        async with database.tenant(tenant_id) as connection:
            await _record(connection, call, tenant_id, invitee, MADE, user.id)
    if ROLE not in done:
        await keycloak_users.give_role(keycloak, user.id, invitee.role)
        async with database.tenant(tenant_id) as connection:
            await _record(connection, call, tenant_id, invitee, ROLE, invitee.role)
            await audit.append(
                connection,
                actor=call.caller.subject,
                source=call.caller.source,
                action="invite_user",
                target=f"user/{user.id}",
                after={"username": invitee.username, "role": invitee.role},
            )
    return Invited(user, invitee.role, password)


async def _made(
    keycloak: Keycloak,
    tenant_id: UUID,
    names: tuple[str, ...],
    invitee: Invitee,
    password: str,
    done: dict[str, StepRow],
) -> User:
    """The user, made now or by an earlier try."""
    user = await _look(keycloak, names, invitee, done)
    if user is not None and user.enabled:
        return user
    if user is None:
        user_id = await keycloak_users.create(
            keycloak, str(tenant_id), invitee.username, password, invitee.first_name, invitee.last_name
        )
    else:
        user_id = user.id
        await keycloak_users.reset(keycloak, user_id, password)
    made = await keycloak_users.get(keycloak, user_id)
    if made is None:
        raise Conflict("The user vanished while it was made. Repeat the request.")
    return made


async def _look(keycloak: Keycloak, names: tuple[str, ...], invitee: Invitee, done: dict[str, StepRow]) -> User | None:
    """The user that an earlier try has made, or one of this tenant who was removed."""
    user = await keycloak_users.find(keycloak, invitee.username)
    if user is None:
        return None
    if not user.of(names):
        raise OfAnotherTenant(f"There is a user {invitee.username} already, who is not of this tenant.")
    if user.enabled and not user.pending:
        raise Conflict(f"{invitee.username} is a user of this tenant already.")
    if user.enabled and MADE not in done and not _made_since(user, done[WANTED]):
        raise Conflict(f"{invitee.username} was invited by somebody else, at the issuer itself.")
    return user


def _made_since(user: User, wanted: StepRow) -> bool:
    """Two clocks are compared: one minute apart is the same time."""
    return user.created_at is not None and (wanted.at - user.created_at).total_seconds() < 60


def _password(keycloak: Keycloak, tenant_id: UUID, username: str, done: dict[str, StepRow]) -> str:
    nonce = json.loads(done[WANTED].result)["nonce"]
    place = f"temporary password\0{tenant_id}\0{username}\0{nonce}"
    digest = hmac.new(keycloak.secret, place.encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(digest[:15]).decode()


async def _record(
    connection: AsyncConnection, call: Call, tenant_id: UUID, invitee: Invitee, step: str, result: str
) -> None:
    await provisioning.record(connection, tenant_id, USER, invitee.username, step, result, call.caller.subject)
