"""Users of a tenant at the issuer: invited, listed and removed by operators of the tenant, and of no other."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clients import keycloak_users
from libs.clients.keycloak import Keycloak
from libs.clients.keycloak_users import User
from libs.database import audit, blocked_subjects, provisioning, tenants
from libs.database.provisioning import USER
from libs.domain.errors import Conflict, InvalidRequest, NotFound, ProvisioningNotConfigured
from services.api.answers import Answer
from services.api.callers import Caller
from services.api.dependencies import Call
from services.api.operations import invitations
from services.api.operations.allowances import require_room
from services.api.operations.idempotency import answer_once_outside
from services.api.operations.invitations import Invited, Invitee, OfAnotherTenant
from services.api.schemas.shared import to_json
from services.api.schemas.users import UserInvite, user_fields
from services.api.services import Services

REMOVED = "removed from the tenant"
ROLES_AT_ONCE = 8


async def invite_user(call: Call, sent: UserInvite) -> Answer:
    """Make a user of the caller's tenant; repeated before the user has signed in, it answers the same."""
    keycloak = provisioner(call.services)
    invitee = Invitee.of(sent)

    async def work() -> Answer:
        database = call.services.database
        async with database.tenant(call.tenant_id) as connection:
            if await invitations.want(connection, call.tenant_id, invitee, call.caller.subject):
                await require_room(connection, call, "users")
            names = await names_of(connection, call.tenant_id)
        try:
            invited = await invitations.invite(call, keycloak, call.tenant_id, names, invitee)
        except OfAnotherTenant:
            async with database.tenant(call.tenant_id) as connection:
                await provisioning.forget(connection, USER, invitee.username)  # or it would count as one of this tenant
            raise
        await _let_in(call.services, call.tenant_id, invited.user.id)
        return Answer(201, to_json(invited_fields(invited)), f"/v1/users/{invited.user.id}")

    return await answer_once_outside(call.services.database, call.caller, call.key, work, without_password)


async def list_users(
    services: Services, caller: Caller, cursor: str | None, limit: int
) -> tuple[list[dict[str, object]], str | None]:
    """A page by position, since the issuer knows no other, and where the next begins."""
    keycloak = provisioner(services)
    async with services.database.tenant(caller.tenant_id) as connection:
        names = await names_of(connection, caller.tenant_id)
        blocked = await blocked_subjects.subjects_of(connection, caller.tenant_id)
    # Users made here carry the tenant's id, those of an administrator of the issuer perhaps its slug.
    which, first = _position(cursor)
    found = await keycloak_users.page(keycloak, names[which], first, limit)
    more = f"{which}.{first + limit}" if len(found) == limit else "1.0" if which == 0 else None
    own = [user for user in found if user.of(names)]
    roles = await _roles(keycloak, own)
    return [user_fields(user, role, blocked=user.id in blocked) for user, role in zip(own, roles, strict=True)], more


async def remove_user(services: Services, caller: Caller, user_id: str) -> None:
    """Keep the user out at once, then at the issuer too.

    Raises:
        NotFound: it is no user of this tenant.
        DependencyUnavailable: it is kept out here; repeating removes it at the issuer.
    """
    if user_id == caller.subject:
        raise Conflict("You cannot remove yourself. Ask another operator to do it.")
    keycloak = provisioner(services)
    async with services.database.tenant(caller.tenant_id) as connection:
        names = await names_of(connection, caller.tenant_id)
        new = await blocked_subjects.block(connection, caller.tenant_id, user_id, REMOVED, caller.subject)
        await audit.append(
            connection,
            actor=caller.subject,
            source=caller.source,
            action="remove_user",
            target=f"user/{user_id}",
        )
    services.tenancy.forget()
    user = await keycloak_users.get(keycloak, user_id)
    if user is None or not user.of(names):
        if new:
            await _let_in(services, caller.tenant_id, user_id)
        raise NotFound("There is no user with this id in your tenant.")
    await keycloak_users.disable(keycloak, user_id)
    async with services.database.tenant(caller.tenant_id) as connection:
        await provisioning.forget(connection, USER, user.username)


def provisioner(services: Services) -> Keycloak:
    """Raises `ProvisioningNotConfigured`."""
    if services.keycloak is None:
        raise ProvisioningNotConfigured(
            "Users and service accounts are managed at the issuer itself: "
            "this API has no provisioning client (KEYCLOAK_PROVISIONER_SECRET)."
        )
    return services.keycloak


async def names_of(connection: AsyncConnection, tenant_id: UUID) -> tuple[str, str]:
    """What a user's claim may say for this tenant: its id, its slug."""
    row = await tenants.find(connection, tenant_id)
    if row is None:
        raise NotFound("There is no such tenant.")
    return str(row.id), row.slug


def invited_fields(invited: Invited) -> dict[str, object]:
    fields = user_fields(invited.user, invited.role, blocked=False)
    return {**fields, "temporary_password": invited.password}


def without_password(body: str) -> str:
    """The answer as it is kept for a repetition."""
    return to_json({**json.loads(body), "temporary_password": None})


async def _let_in(services: Services, tenant_id: UUID, user_id: str) -> None:
    """Take away the block of a removal; one that an operator made for another reason stays."""
    async with services.database.tenant(tenant_id) as connection:
        block = await blocked_subjects.find(connection, user_id)
        if block is not None and block.reason == REMOVED:
            await blocked_subjects.unblock(connection, user_id)
    services.tenancy.forget()


async def _roles(keycloak: Keycloak, users: list[User]) -> list[str | None]:
    few = asyncio.Semaphore(ROLES_AT_ONCE)

    async def role(user: User) -> str | None:
        async with few:
            return await keycloak_users.role_of(keycloak, user.id)

    return list(await asyncio.gather(*(role(user) for user in users)))


def _position(cursor: str | None) -> tuple[int, int]:
    which, dot, first = (cursor or "0.0").partition(".")
    if not (dot and which in ("0", "1") and first.isascii() and first.isdecimal() and len(first) < 8):
        raise InvalidRequest("`cursor` must be the `next_cursor` of the page before.")
    return int(which), int(first)
