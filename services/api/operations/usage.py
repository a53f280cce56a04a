"""Sums of the ledger: an operator's tenant, a user's own runs, or for an administrator tenants without content."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import usage
from libs.database.engine import PLATFORM
from libs.database.usage import PLATFORM_KEYS, TENANT_KEYS, UsageFilter, UsageRow
from libs.domain.errors import DependencyUnavailable, InvalidRequest
from services.api.dependencies import Call

WAIT_SECONDS = 10.0
Sums = tuple[UsageRow, list[UsageRow]]


async def sum_usage(
    call: Call, keys: tuple[str, ...], wanted: UsageFilter, after: list[str] | None, limit: int
) -> Sums:
    """The sums of everything, and of one group more than `limit`."""
    if call.tenant_id == PLATFORM:
        _require(keys, PLATFORM_KEYS, "an administrator sees sums by tenant, day and model")
        if wanted.agent or wanted.user or wanted.labels:
            raise InvalidRequest("An administrator sees no agents, users or labels: filter by model alone.")
        async with _one_at_a_time(call.services.sums), call.services.database.maintenance() as connection:
            return await _sums(connection, None, keys, wanted, after, limit + 1)
    _require(keys, TENANT_KEYS, "that is for administrators of the platform")
    wanted = wanted._replace(subject=call.caller.sees_only)
    async with call.services.database.tenant(call.tenant_id) as connection:
        return await _sums(connection, call.tenant_id, keys, wanted, after, limit + 1)


@asynccontextmanager
async def _one_at_a_time(sums: asyncio.Semaphore) -> AsyncIterator[None]:
    """Every request looks across tenants for a moment: long sums must leave it the connections for that."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await sums.acquire()
    except TimeoutError:
        raise DependencyUnavailable("usage", "Other sums over all tenants are being added up.") from None
    try:
        yield
    finally:
        sums.release()


async def _sums(
    connection: AsyncConnection,
    tenant_id: UUID | None,
    keys: tuple[str, ...],
    wanted: UsageFilter,
    after: list[str] | None,
    limit: int,
) -> Sums:
    try:
        return await usage.sums(connection, tenant_id, keys, wanted, after, limit)
    except TimeoutError:  # not the database's fault, and not better the next time
        raise InvalidRequest(
            "These sums take too long to add up. Ask for a shorter period (`from`, `to`), or for one agent or model."
        ) from None


def _require(keys: tuple[str, ...], known: tuple[str, ...], why: str) -> None:
    for key in keys:
        if key not in known:
            raise InvalidRequest(f"These sums cannot be grouped by {key}: {why}.")
