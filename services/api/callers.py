"""A caller of the API: who it is, in which tenant, and what it may see."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from libs.database.engine import PLATFORM as NO_TENANT
from libs.database.service_accounts import BoundRow
from libs.domain.errors import Forbidden
from services.api.authentication import Identity
from services.api.roles import MEMBERS, PLATFORM
from services.api.tenancy import Tenancy

# What a service account may do; as in the realm, an operator is a user too.
GRANTED = {"operator": frozenset({"operator", "user"}), "user": frozenset({"user"})}


class Caller(NamedTuple):
    """`tenant_id` is the nil UUID for an administrator, who has no tenant; `client` is the token's `azp`.

    `source` is the address that the request comes from, `account` the service account that the caller is, if it is one.
    """

    subject: str
    roles: frozenset[str]
    tenant_id: UUID
    tenant_claim: str | None
    expires_at: float
    client: str | None = None
    source: str = "unknown"
    account: BoundRow | None = None

    @property
    def sees_only(self) -> str | None:
        """The subject whose runs are all that this caller sees; None for the whole tenant."""
        return None if "operator" in self.roles else self.subject


async def admit(identity: Identity, allowed: frozenset[str], tenancy: Tenancy) -> Caller:
    """Let a caller through to an operation that these roles may do.

    A client that is a service account has the tenant and the role that it was given here, whatever its token says.

    Raises:
        Forbidden: its roles, its tenant or a block do not allow it.
    """
    account = await tenancy.account(identity.client) if identity.of_client and identity.client else None
    roles = identity.roles if account is None else GRANTED[account.role]
    granted = roles & allowed
    if not granted:
        raise Forbidden(_missing(identity, allowed, account))
    if granted & PLATFORM:
        await tenancy.check_administrator(identity.subject)
        return Caller(identity.subject, roles, NO_TENANT, None, identity.expires_at, identity.client)
    claim = identity.tenant if account is None else str(account.tenant_id)
    if claim is None:
        raise Forbidden("Your access token names no tenant (claim tenant_id).")
    tenant = await tenancy.resolve(claim, identity.subject)
    return Caller(identity.subject, roles, tenant.id, claim, identity.expires_at, identity.client, account=account)


def _missing(identity: Identity, allowed: frozenset[str], account: BoundRow | None) -> str:
    if identity.of_client and account is None and not identity.roles & (MEMBERS | PLATFORM):
        return "The client of your access token is no service account here, or not any longer."
    whose = "your access token" if account is None else "this service account"
    return f"This needs the role {' or '.join(sorted(allowed))}, which {whose} does not have."


async def check_standing(caller: Caller, tenancy: Tenancy) -> None:
    """Whether a caller who was let in may stay.

    Raises:
        Forbidden: not any longer.
    """
    if caller.account is not None and await tenancy.account(caller.client or "") != caller.account:
        raise Forbidden("The service account was deleted.")
    if caller.tenant_id == NO_TENANT:
        await tenancy.check_administrator(caller.subject)
    else:
        await tenancy.resolve(caller.tenant_claim or "", caller.subject)
