"""Clients that act for a tenant: made, rotated and deleted at the issuer, and bound to tenant and role here.

What decides is our row: a client without one acts for nobody, whatever became of it at the issuer.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clients import keycloak_clients
from libs.clients.keycloak import Keycloak, TokenSpent
from libs.clients.keycloak_clients import Registered
from libs.clients.sealing import CannotBeOpened, KeyRing
from libs.database import audit, service_accounts
from libs.database.engine import Database
from libs.database.service_accounts import ACTIVE, CREATING, DELETING, AccountRow
from libs.domain.errors import Conflict, NotFound, ProvisioningNotConfigured
from services.api.answers import Answer
from services.api.callers import Caller
from services.api.dependencies import Call
from services.api.operations.allowances import require_room
from services.api.operations.idempotency import answer_once_outside
from services.api.operations.users import provisioner
from services.api.schemas.service_accounts import ServiceAccountCreate, account_fields
from services.api.schemas.shared import to_json
from services.api.services import Services

logger = logging.getLogger(__name__)


async def create_account(call: Call, wanted: ServiceAccountCreate) -> Answer:
    """The row first, then its client, then the two are bound; repeated after a failure, a new client is made."""
    keycloak, ring = _needed(call.services)

    async def work() -> Answer:
        row = await _wanted(call, wanted)
        return await _bound(call, ring, row, await _register(keycloak, row), "create_service_account")

    return await answer_once_outside(call.services.database, call.caller, call.key, work, _without_secret)


async def rotate_account(call: Call, name: str) -> Answer:
    """A new secret; the one before gets no more tokens. A client that cannot be changed any longer is replaced."""
    keycloak, ring = _needed(call.services)

    async def work() -> Answer:
        row = await _active(call, name)
        token = await _manage_token(call.services.database, ring, call.tenant_id, row)
        made = None
        if token is not None and row.client_id is not None:
            wish = Registered(row.client_id, secrets.token_urlsafe(32), token)
            made = await _unless_lost(row, keycloak_clients.rotate(keycloak, wish, row.name))
        return await _bound(call, ring, row, made or await _register(keycloak, row), "rotate_service_account")

    return await answer_once_outside(call.services.database, call.caller, call.key, work, _without_secret)


async def delete_account(services: Services, caller: Caller, name: str) -> None:
    """It acts for nobody at once; then its client is deleted too.

    Raises:
        NotFound: there is none.
        DependencyUnavailable: its client is still there, but of no use; repeating deletes it.
    """
    keycloak, ring = _needed(services)
    async with services.database.tenant(caller.tenant_id) as connection:
        before = await service_accounts.find(connection, name)
        row = await service_accounts.end(connection, name)
        if row is None or before is None:
            raise _missing(name)
        if before.status != DELETING:
            await _note(connection, caller, "delete_service_account", row)
    services.tenancy.forget()
    token = await _manage_token(services.database, ring, caller.tenant_id, row)
    if token is not None and row.client_id is not None:
        await _unless_lost(row, keycloak_clients.delete(keycloak, row.client_id, token))
    async with services.database.tenant(caller.tenant_id) as connection:
        await service_accounts.remove(connection, row.id)


async def list_accounts(database: Database, tenant_id: UUID, after: str | None, limit: int) -> list[AccountRow]:
    async with database.tenant(tenant_id) as connection:
        return await service_accounts.page(connection, after, limit)


def _needed(services: Services) -> tuple[Keycloak, KeyRing]:
    keycloak = provisioner(services)
    if services.secrets_keys is None:
        raise ProvisioningNotConfigured("Service accounts need a key that seals what manages them (SECRETS_KEYS).")
    return keycloak, services.secrets_keys


async def _wanted(call: Call, wanted: ServiceAccountCreate) -> AccountRow:
    """The row, new or of an earlier try that went no further."""
    async with call.services.database.tenant(call.tenant_id) as connection:
        row = await service_accounts.add(connection, call.tenant_id, wanted.name, wanted.role, call.caller.subject)
        if row is not None:
            await require_room(connection, call, "service_accounts")
        row = row or await service_accounts.find(connection, wanted.name)
    if row is None or row.status != CREATING or row.role != wanted.role:
        raise Conflict(f"There is a service account {wanted.name} already. Choose another name, rotate or delete it.")
    return row


async def _register(keycloak: Keycloak, row: AccountRow) -> Registered:
    """Under an id of its own: a client that an earlier try has left behind is bound to nothing."""
    return await keycloak_clients.register(
        keycloak, f"{row.name}-{secrets.token_hex(8)}", f"service account {row.name}"
    )


async def _bound(call: Call, ring: KeyRing, row: AccountRow, made: Registered, action: str) -> Answer:
    key, sealed = ring.seal(call.tenant_id, place(row.id), made.manage_token)
    async with call.services.database.tenant(call.tenant_id) as connection:
        bound = await service_accounts.bind(connection, row.id, made.client_id, key, sealed)
        if bound is None:
            raise Conflict(f"The service account {row.name} was deleted meanwhile.")
        await _note(connection, call.caller, action, bound)
    call.services.tenancy.forget()
    token_url = f"{call.services.issuer}/protocol/openid-connect/token"
    body = {**account_fields(bound), "client_secret": made.secret, "token_url": token_url}
    return Answer(201 if row.status == CREATING else 200, to_json(body), f"/v1/service-accounts/{row.name}")


async def _active(call: Call, name: str) -> AccountRow:
    async with call.services.database.tenant(call.tenant_id) as connection:
        row = await service_accounts.find(connection, name)
    if row is None or row.status == DELETING:
        raise _missing(name)
    if row.status != ACTIVE:
        raise Conflict(f"The service account {name} is not made yet. Repeat its creation.")
    return row


async def _manage_token(database: Database, ring: KeyRing, tenant_id: UUID, row: AccountRow) -> str | None:
    async with database.tenant(tenant_id) as connection:
        sealed = await service_accounts.manage_token(connection, row.id)
    try:
        return ring.open(tenant_id, place(row.id), *sealed) if sealed else None
    except CannotBeOpened as reason:
        logger.warning("the client %s cannot be changed at the issuer any longer: %s", row.client_id, reason)
        return None


async def _unless_lost(row: AccountRow, work: Awaitable[Registered | None]) -> Registered | None:
    """None when the token that changes the client was used by a call whose answer never came, or the client is gone."""
    try:
        return await work
    except (TokenSpent, NotFound):
        logger.warning("the client %s is left at the issuer; it is bound to nothing", row.client_id)
        return None


def place(account_id: UUID) -> str:
    """Under which name the token that changes an account's client is sealed; no secret of a tenant has it."""
    return f"service account {account_id}"


def _without_secret(body: str) -> str:
    return to_json({**json.loads(body), "client_secret": None})


def _missing(name: str) -> NotFound:
    return NotFound(f"There is no service account {name}.")


async def _note(connection: AsyncConnection, caller: Caller, action: str, row: AccountRow) -> None:
    await audit.append(
        connection,
        actor=caller.subject,
        source=caller.source,
        action=action,
        target=f"service-account/{row.name}",
        after={"role": row.role, "client_id": row.client_id},
    )
