"""Idempotency keys: who asked for what under which key, and the first answer, kept for 24 hours."""

# ruff: noqa: S608 - what is put into the statements are constants of this package

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

# A key is free again when it is a day old, or when its request never answered (its process died in the middle).
FREE = (
    "idempotency_keys.created_at < clock_timestamp() - interval '24 hours' "
    "OR (idempotency_keys.status IS NULL AND idempotency_keys.created_at < clock_timestamp() - interval '15 minutes')"
)
_CLAIM = Statement(
    f"""
    INSERT INTO idempotency_keys (tenant_id, subject, operation, key, digest)
    VALUES (CAST(:tenant AS uuid), CAST(:subject AS text), CAST(:operation AS text), CAST(:key AS text),
            CAST(:digest AS text))
    ON CONFLICT (tenant_id, subject, operation, key) DO UPDATE
        SET digest = excluded.digest, resource_id = NULL, status = NULL, location = NULL, response = NULL,
            created_at = clock_timestamp()
        WHERE {FREE}
    RETURNING 1
    """
)
_WHERE = (
    "tenant_id = CAST(:tenant AS uuid) AND subject = CAST(:subject AS text) "
    "AND operation = CAST(:operation AS text) AND key = CAST(:key AS text)"
)
_READ = Statement(
    f"SELECT digest, resource_id, status, location, response FROM idempotency_keys WHERE {_WHERE} AND NOT ({FREE})"
)
_RECORD = Statement(
    f"""
    UPDATE idempotency_keys SET digest = CAST(:digest AS text), status = CAST(:status AS smallint),
        location = CAST(:location AS text), response = CAST(:response AS text)
    WHERE {_WHERE}
    """
)
_RELEASE = Statement(f"DELETE FROM idempotency_keys WHERE {_WHERE} AND status IS NULL")


class Key(NamedTuple):
    """One client's name for one request. `digest` is of what was sent under it."""

    tenant_id: UUID
    subject: str
    operation: str
    key: str
    digest: str


class KeyRow(NamedTuple):
    """`status` is null while the first request has not answered."""

    digest: str
    resource_id: UUID | None
    status: int | None
    location: str | None
    response: str | None


def _names(key: Key) -> dict[str, UUID | str]:
    return {"tenant": key.tenant_id, "subject": key.subject, "operation": key.operation, "key": key.key}


async def claim(connection: AsyncConnection, key: Key) -> bool:
    """Whether the key is ours; if not, `read` tells whose, with a new statement that sees what the winner committed."""
    return await _CLAIM.one(connection, **_names(key), digest=key.digest) is not None


async def read(connection: AsyncConnection, key: Key) -> KeyRow | None:
    row = await _READ.one(connection, **_names(key))
    return KeyRow._make(row) if row else None


async def record(connection: AsyncConnection, key: Key, status: int, location: str | None, response: str) -> None:
    await _RECORD.run(connection, **_names(key), digest=key.digest, status=status, location=location, response=response)


async def release(connection: AsyncConnection, key: Key) -> None:
    """Give up a claim whose request failed."""
    await _RELEASE.run(connection, **_names(key))
