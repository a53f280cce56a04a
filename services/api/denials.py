"""What was refused, in the audit log: every 403 of a known caller, and the number of 401s of each minute.

The first refusal of a kind is written at once, in a transaction of its own; the same again within the minute is only
counted, so that a flood of refusals fills no disk. What was counted is written when the minute is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from libs.database import audit, tenants
from libs.database.engine import PLATFORM, Database
from libs.domain.audit import moment
from services.api.tenancy import parse_tenant

logger = logging.getLogger(__name__)

MINUTE_SECONDS = 60.0
BELIEVED_SECONDS = 5.0  # which tenant a claim names; erasures of tenants wait for longer before they take the log
LAST_SECONDS = 2.0  # for what was counted when the process ends
KINDS = 2000  # of refusals in a minute; beyond that they are counted together, by tenant
SOURCES = 10  # named in the row of a minute's 401s
NOBODY = "unauthenticated"
OTHERS = "others"


@dataclass(frozen=True)
class Denial:
    """A kind of refusal: whose, of which operation, and why."""

    tenant_id: UUID
    actor: str
    source: str
    operation: str
    code: str


class Denials:
    """One per process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._forbidden: Counter[Denial] = Counter()
        self._unwritten: deque[tuple[Denial, str, Mapping[str, Any]]] = deque(maxlen=KINDS)
        self._unauthenticated: Counter[str] = Counter()
        self._tenants: dict[UUID | str, tuple[float, UUID]] = {}
        self._since = datetime.now(UTC)

    async def tenant_of(self, claim: str | None) -> UUID:
        """The tenant that a claim names, whatever may be done there; the platform's when there is none."""
        name = parse_tenant(claim) if claim else None
        if name is None:
            return PLATFORM
        until, tenant_id = self._tenants.get(name, (0.0, PLATFORM))
        if until < time.monotonic():
            try:
                async with self._database.maintenance() as connection:
                    row = await tenants.find(connection, name)
            except Exception:
                # The refusal is told in any case; it is noted where nothing needs to be looked up.
                return PLATFORM
            # Nothing is added to the log of a tenant that is being erased.
            tenant_id = PLATFORM if row is None or row.status == "deleting" else row.id
            if len(self._tenants) >= KINDS:
                self._tenants.clear()
            self._tenants[name] = time.monotonic() + BELIEVED_SECONDS, tenant_id
        return tenant_id

    async def forbidden(self, denial: Denial, target: str) -> None:
        """Note a 403; never fails, and waits for one short transaction at most."""
        if denial not in self._forbidden and len(self._forbidden) >= KINDS:
            denial = Denial(denial.tenant_id, OTHERS, OTHERS, OTHERS, denial.code)
        self._forbidden[denial] += 1
        if self._forbidden[denial] == 1:
            await self._append_or_keep(denial, target, {"code": denial.code})

    def unauthenticated(self, source: str) -> None:
        """Count a 401."""
        known = source in self._unauthenticated or len(self._unauthenticated) < KINDS
        self._unauthenticated[source if known else OTHERS] += 1

    async def keep_counts(self) -> None:
        """Write what was counted, every minute until cancelled, and a last time then."""
        try:
            while True:
                await asyncio.sleep(MINUTE_SECONDS)
                await self.flush()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.flush()

    async def flush(self) -> None:
        """Write what was counted since the last time; what cannot be written now is tried again."""
        while self._unwritten and await self._append(*self._unwritten[0]):
            self._unwritten.popleft()
        since, self._since = self._since, datetime.now(UTC)
        span = {"since": moment(since), "until": moment(self._since)}
        forbidden, self._forbidden = self._forbidden, Counter()
        for denial, count in forbidden.items():
            if count > 1:
                after = {"code": denial.code, "again": count - 1, **span}
                await self._append_or_keep(denial, f"operation/{denial.operation}", after)
        counted, self._unauthenticated = self._unauthenticated, Counter()
        if counted:
            after = {"count": counted.total(), "sources": dict(counted.most_common(SOURCES)), **span}
            denial = Denial(PLATFORM, NOBODY, "many" if len(counted) > 1 else next(iter(counted)), "any", NOBODY)
            await self._append_or_keep(denial, "api", after)

    async def _append_or_keep(self, denial: Denial, target: str, after: Mapping[str, Any]) -> None:
        if not await self._append(denial, target, after):
            self._unwritten.append((denial, target, after))

    async def _append(self, denial: Denial, target: str, after: Mapping[str, Any]) -> bool:
        action = "unauthenticated" if denial.actor == NOBODY else f"denied:{denial.operation}"
        try:
            async with self._database.tenant(denial.tenant_id) as connection:
                await audit.append(
                    connection, actor=denial.actor, source=denial.source, action=action, target=target, after=after
                )
        except Exception as error:
            # The answer to the caller is the same; the row is written when the database is back.
            logger.warning("a refusal is not in the audit log yet: %s", type(error).__name__)
            return False
        return True
