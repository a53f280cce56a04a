"""Takes the accounts of tenants that are being deleted away from the issuer, which only the API administers."""

from __future__ import annotations

import asyncio
import logging
import random

from libs.clients import keycloak_users
from libs.clients.keycloak import Keycloak
from libs.database import erasures, service_accounts
from libs.database.engine import PLATFORM, is_unavailable
from libs.database.erasures import ErasureRow
from libs.domain.errors import DomainProblem
from services.api.callers import Caller
from services.api.operations.service_accounts import delete_account
from services.api.services import Services

logger = logging.getLogger(__name__)
EVERY_SECONDS = 2.0
AT_ONCE = 100


async def close_accounts(services: Services) -> None:
    """Look for such tenants until cancelled. Any number may do it: what is gone is gone."""
    while True:
        await asyncio.sleep(EVERY_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the replicas, no secret
        try:
            await close_due(services)
        except Exception as error:
            if not is_unavailable(error):
                logger.error("accounts of deleted tenants stay for now", exc_info=error)


async def close_due(services: Services) -> int:
    """Every tenant whose accounts are still there; how many were closed."""
    async with services.database.tenant(PLATFORM) as connection:
        due = await erasures.accounts_due(connection)
    closed = 0
    for erasure in due:
        try:
            await _close(services, erasure)
        except DomainProblem as problem:
            logger.warning("accounts of the tenant %s stay for now: %s", erasure.slug, problem.detail)
            continue
        async with services.database.tenant(erasure.tenant_id) as connection:
            await erasures.note_accounts(connection, erasure.id)
        closed += 1
    return closed


async def _close(services: Services, erasure: ErasureRow) -> None:
    """Users and clients; without a provisioning client the issuer's own administrator does that."""
    if services.keycloak is None:
        return
    caller = Caller(erasure.requested_by, frozenset(), erasure.tenant_id, None, 0.0, source=erasure.source)
    while services.secrets_keys is not None:
        async with services.database.tenant(erasure.tenant_id) as connection:
            accounts = await service_accounts.names(connection, AT_ONCE)
        if not accounts:
            break
        for account in accounts:
            await delete_account(services, caller, account)
    names = str(erasure.tenant_id), erasure.slug or ""
    for name in names:
        await _delete_users(services.keycloak, name, names)


async def _delete_users(keycloak: Keycloak, name: str, names: tuple[str, str]) -> None:
    first = 0
    while found := await keycloak_users.page(keycloak, name, first, AT_ONCE):
        own = [user for user in found if user.of(names)]
        for user in own:
            await keycloak_users.delete(keycloak, user.id)
        first += len(found) - len(own)  # those of the page that are another's stay where they are
