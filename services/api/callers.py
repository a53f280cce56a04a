"""A caller of the API: who it is, in which tenant, and what it may see."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from libs.database.engine import PLATFORM as NO_TENANT
from libs.domain.errors import Forbidden
from services.api.authentication import Identity
from services.api.roles import PLATFORM
from services.api.tenancy import Tenancy


class Caller(NamedTuple):
    """`tenant_id` is the nil UUID for an administrator, who has no tenant; `client` is the token's `azp`.

    `source` is the address that the request comes from.
    """

    subject: str
    roles: frozenset[str]
    tenant_id: UUID
    tenant_claim: str | None
    expires_at: float
    client: str | None = None
    source: str = "unknown"

    @property
    def sees_only(self) -> str | None:
        """The subject whose runs are all that this caller sees; None for the whole tenant."""
        return None if "operator" in self.roles else self.subject


async def admit(identity: Identity, allowed: frozenset[str], tenancy: Tenancy) -> Caller:
    """Let a caller through to an operation that these roles may do.

    Raises:
        Forbidden: its roles, its tenant or a block do not allow it.
    """
    granted = identity.roles & allowed
    if not granted:
        raise Forbidden(f"This needs the role {' or '.join(sorted(allowed))}, which your access token does not have.")
    if granted & PLATFORM:
        await tenancy.check_administrator(identity.subject)
        return Caller(identity.subject, identity.roles, NO_TENANT, None, identity.expires_at, identity.client)
    if identity.tenant is None:
        raise Forbidden("Your access token names no tenant (claim tenant_id).")
    tenant = await tenancy.resolve(identity.tenant, identity.subject)
    return Caller(identity.subject, identity.roles, tenant.id, identity.tenant, identity.expires_at, identity.client)


async def check_standing(caller: Caller, tenancy: Tenancy) -> None:
    """Whether a caller who was let in may stay.

    Raises:
        Forbidden: not any longer.
    """
    if caller.tenant_id == NO_TENANT:
        await tenancy.check_administrator(caller.subject)
    else:
        await tenancy.resolve(caller.tenant_claim or "", caller.subject)
