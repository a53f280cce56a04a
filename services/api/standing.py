"""Whether those whose streams and long polls are open may stay: all of them are asked about twice a second."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from libs.database.engine import is_unavailable
from libs.domain.errors import DomainProblem
from services.api.callers import Caller, check_standing
from services.api.tenancy import Tenancy

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 0.4
AT_ONCE = 3  # tenants; one connection of those that look across tenants is left to requests

Leave = Callable[[], None]


class Standing:
    """Those who are here; the tenancy answers for all callers of one tenant with one reading."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy
        self._present: dict[object, tuple[Caller, Leave]] = {}

    @contextmanager
    def watch(self, caller: Caller, leave: Leave) -> Iterator[None]:
        """Call `leave` once the caller may stay no longer."""
        token = object()
        self._present[token] = caller, leave
        try:
            yield
        finally:
            self._present.pop(token, None)

    async def keep_asking(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except Exception as error:
                # While the database is away everybody stays; whatever else it is, the next sweep comes.
                if not is_unavailable(error):
                    logger.error("open streams could not be checked", exc_info=error)

    async def sweep(self) -> None:
        """Tenants beside each other, since each is one reading; the callers of one tenant after each other."""
        by_tenant: dict[str | None, list[object]] = defaultdict(list)
        for token, (caller, _) in self._present.items():
            by_tenant[caller.tenant_claim].append(token)
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(tokens: list[object]) -> None:
            async with slots:
                for token in tokens:
                    await self._ask(token)

        await asyncio.gather(*(ask(tokens) for tokens in by_tenant.values()))

    async def _ask(self, token: object) -> None:
        if (present := self._present.get(token)) is None:
            return  # gone by itself meanwhile
        caller, leave = present
        try:
            await check_standing(caller, self._tenancy)
        except DomainProblem:
            self._present.pop(token, None)
            leave()
