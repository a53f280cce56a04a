"""What operators do with their tenant's secrets; nothing here ever reads a value."""

from __future__ import annotations

from uuid import UUID

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import audit, secrets
from libs.database.engine import Database
from libs.database.secrets import SecretRow
from libs.domain.agents import AgentDraft
from libs.domain.errors import Flaw, InvalidRequest, NotFound, SecretsNotConfigured
from services.api.dependencies import Call
from services.api.operations.allowances import require_room
from services.api.schemas.shared import rfc3339


async def put_secret(call: Call, name: str, value: SecretStr) -> tuple[SecretRow, bool]:
    """The secret, and whether it is new. It is sealed before it leaves this process."""
    keys = call.services.secrets_keys
    if keys is None:
        raise SecretsNotConfigured(
            "This platform has no key to encrypt secrets with. Its administrator sets SECRETS_KEYS for the API and the "
            "workers: an id and 32 random bytes, such as k1:$(openssl rand -base64 32)."
        )
    key_id, sealed = keys.seal(call.tenant_id, name, value.get_secret_value())
    async with call.services.database.tenant(call.tenant_id) as connection:
        before = await secrets.lock(connection, name)
        row = await secrets.put(connection, call.tenant_id, name, key_id, sealed, call.caller.subject)
        if before is None:
            await require_room(connection, call, "secrets")
        await _note(connection, call, "put_secret", name, before, row)
        return row, before is None


async def list_secrets(database: Database, tenant_id: UUID, after: str | None, limit: int) -> list[SecretRow]:
    async with database.tenant(tenant_id) as connection:
        return await secrets.page(connection, after, limit)


async def delete_secret(call: Call, name: str) -> None:
    """Versions that name it go on to exist; their calls fail until it is there again."""
    async with call.services.database.tenant(call.tenant_id) as connection:
        before = await secrets.delete(connection, name)
        if before is None:
            raise NotFound(f"There is no secret {name}.")
        await _note(connection, call, "delete_secret", name, before, None)


async def _note(
    connection: AsyncConnection, call: Call, action: str, name: str, before: SecretRow | None, after: SecretRow | None
) -> None:
    """When the value was set, never what it was."""
    await audit.append(
        connection,
        actor=call.caller.subject,
        source=call.caller.source,
        action=action,
        target=f"secret/{name}",
        before={"updated_at": rfc3339(before.updated_at)} if before else None,
        after={"updated_at": rfc3339(after.updated_at)} if after else None,
    )


async def check_named(connection: AsyncConnection, spec: AgentDraft) -> None:
    """Refuse a spec that names a secret which is not there.

    Raises:
        InvalidRequest: with each place that does.
    """
    named = spec.secrets
    if not named:
        return
    present = await secrets.present(connection, sorted(set(named.values())))
    flaws = tuple(
        Flaw(f"/spec{place}", f"names the secret {name}, which does not exist")
        for place, name in named.items()
        if name not in present
    )
    if flaws:
        raise InvalidRequest("The spec names secrets that do not exist. Set them first: PUT /v1/secrets/{name}.", flaws)
