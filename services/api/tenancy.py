"""Which tenant a token's claim names and whether it may work: looked up across tenants, believed for a second."""

from __future__ import annotations

import re
import time
from uuid import UUID

from libs.database import tenants
from libs.database.engine import Database
from libs.database.tenants import TenantRow
from libs.domain.errors import Forbidden, TenantSuspended
from services.api.schemas.shared import SLUG

BELIEVED_SECONDS = 1.0
REMEMBERED = 10_000
_SLUG = re.compile(SLUG)
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Tenancy:
    """Tenants by id or slug."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, TenantRow]] = {}

    async def resolve(self, claim: str) -> TenantRow:
        """The tenant of a claim.

        Raises:
            Forbidden: there is no such tenant.
            TenantSuspended: it may not work now.
        """
        known = self._known.get(claim)
        if known is None or known[0] < time.monotonic():
            known = await self._look_up(claim)
        if known[1].status != "active":
            raise TenantSuspended("Your tenant is suspended. Ask the administrator of the platform.")
        return known[1]

    def forget(self) -> None:
        """Believe nothing any longer; somebody changed a tenant here."""
        self._known.clear()

    async def _look_up(self, claim: str) -> tuple[float, TenantRow]:
        name = parse_tenant(claim)
        row = None
        if name is not None:
            async with self._database.maintenance() as connection:
                row = await tenants.find(connection, name)
        if row is None:
            raise Forbidden("The tenant that your access token names does not exist here.")
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[claim] = known = time.monotonic() + BELIEVED_SECONDS, row
        return known


def parse_tenant(text: str) -> UUID | str | None:
    """An id, a slug (which never looks like an id), or None for what can be neither."""
    if _ID.fullmatch(text):
        return UUID(text)
    return text if _SLUG.fullmatch(text) else None
