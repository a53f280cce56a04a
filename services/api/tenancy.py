"""Which tenant a token's claim names, whether it may work and who of it is blocked: believed for half a second.

With the sweep of open streams (services/api/standing.py) a block is felt within a second, on every replica, without
Redis. Whatever belongs to the tenant and decides about its requests is read here, with it.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple
from uuid import UUID

from libs.database import blocked_subjects, plans, service_accounts, tenants
from libs.database.engine import PLATFORM, Database
from libs.database.service_accounts import BoundRow
from libs.database.tenants import TenantRow
from libs.domain.errors import Forbidden, TenantSuspended
from libs.domain.plans import Plan
from services.api.schemas.shared import SLUG

BELIEVED_SECONDS = 0.5
REMEMBERED = 10_000
_SLUG = re.compile(SLUG)
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Known(NamedTuple):
    """What was read, and until when it is believed."""

    until: float
    tenant: TenantRow | None
    blocked: frozenset[str]


class Tenancy:
    """Tenants by id or slug, with their blocked subjects; and service accounts by client."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Known] = {}
        self._plans: dict[UUID, Plan] = {}
        self._bound: dict[str, tuple[float, BoundRow | None]] = {}

    async def resolve(self, claim: str, subject: str) -> TenantRow:
        """The tenant of a claim.

        Raises:
            Forbidden: there is no such tenant, it is being deleted, or the subject is blocked.
            TenantSuspended: it may not work now.
        """
        known = await self._look(claim)
        if known.tenant is None:
            raise Forbidden("The tenant that your access token names does not exist here.")
        if known.tenant.status == "deleting":
            raise Forbidden("Your tenant is being deleted.")
        if known.tenant.status != "active":
            raise TenantSuspended("Your tenant is suspended. Ask the administrator of the platform.")
        if subject in known.blocked:
            raise Forbidden("You are blocked in this tenant. Ask an operator of it.")
        return known.tenant

    async def check_administrator(self, subject: str) -> None:
        """Raises `Forbidden` for an administrator who is blocked."""
        if subject in (await self._look(str(PLATFORM))).blocked:
            raise Forbidden("You are blocked on this platform. Ask another administrator.")

    def plan(self, tenant_id: UUID) -> Plan | None:
        """What a tenant that was just resolved may use."""
        return self._plans.get(tenant_id)

    async def account(self, client: str) -> BoundRow | None:
        """For which tenant and in which role a client of the issuer acts, if it is a service account's."""
        known = self._bound.get(client)
        if known is None or known[0] < time.monotonic():
            until = time.monotonic() + BELIEVED_SECONDS
            async with self._database.maintenance() as connection:
                known = until, await service_accounts.bound(connection, client)
            if len(self._bound) >= REMEMBERED:
                self._bound.clear()
            self._bound[client] = known
        return known[1]

    def forget(self) -> None:
        """Believe nothing any longer; somebody changed a tenant, a plan or an account here."""
        self._known.clear()
        self._bound.clear()

    async def _look(self, claim: str) -> Known:
        known = self._known.get(claim)
        return known if known is not None and known.until >= time.monotonic() else await self._look_up(claim)

    async def _look_up(self, claim: str) -> Known:
        until = time.monotonic() + BELIEVED_SECONDS  # from before the reading: what is written meanwhile is not seen
        name = parse_tenant(claim)
        if name is None:
            return Known(until, None, frozenset())
        async with self._database.maintenance() as connection:
            row = await tenants.find(connection, name)
            tenant_id = row.id if row else name
            plan = await plans.find(connection, row.plan) if row else None
            blocked: frozenset[str] = frozenset()
            if isinstance(tenant_id, UUID):
                blocked = await blocked_subjects.subjects_of(connection, tenant_id)
        known = Known(until, row, blocked)
        if row is None and name != PLATFORM:
            return known  # nobody fills the memory with tenants that do not exist
        if len(self._known) >= REMEMBERED:
            self._known.clear()
            self._plans.clear()
        if row and plan:
            self._plans[row.id] = plan.plan
        self._known[claim] = known
        return known


def parse_tenant(text: str) -> UUID | str | None:
    """An id, a slug (which never looks like an id), or None for what can be neither."""
    if _ID.fullmatch(text):
        return UUID(text)
    return text if _SLUG.fullmatch(text) else None
