"""Sealing the audit log: which tenants have entries without a place, and giving them their places, once."""

# ruff: noqa: S608 - what is put into the statements are constants of `audit`

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from asyncpg.exceptions import UniqueViolationError
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.audit import COLUMNS, AuditRow
from libs.database.statements import Statement
from libs.domain.audit import GENESIS

# In any order: logs that cannot be sealed keep no others from it.
_WAITING = Statement(
    """
    SELECT tenant_id FROM (SELECT DISTINCT tenant_id FROM audit_log WHERE seq IS NULL) AS waiting
    ORDER BY random() LIMIT CAST(:most AS int)
    """
)
_HEAD = Statement("SELECT seq, hash FROM audit_heads WHERE tenant_id = CAST(:tenant AS uuid)")
_UNSEALED = Statement(
    f"SELECT {COLUMNS} FROM audit_log WHERE tenant_id = CAST(:tenant AS uuid) AND seq IS NULL "
    "ORDER BY id LIMIT CAST(:most AS int)"
)
# Whoever moves the head from where it was read seals; everybody else finds it moved and writes nothing.
_MOVE_HEAD = Statement(
    """
    UPDATE audit_heads SET seq = CAST(:seq AS bigint), hash = CAST(:hash AS text), sealed_at = clock_timestamp()
    WHERE tenant_id = CAST(:tenant AS uuid) AND seq = CAST(:from_seq AS bigint) AND hash = CAST(:from_hash AS text)
    RETURNING 1
    """
)
_FIRST_HEAD = Statement(
    """
    INSERT INTO audit_heads (tenant_id, seq, hash)
    VALUES (CAST(:tenant AS uuid), CAST(:seq AS bigint), CAST(:hash AS text))
    ON CONFLICT DO NOTHING RETURNING 1
    """
)
_SEAL = Statement(
    """
    UPDATE audit_log l SET seq = s.seq, previous = s.previous, hash = s.hash
    FROM unnest(CAST(:ids AS uuid[]), CAST(:seqs AS bigint[]), CAST(:previous AS text[]), CAST(:hashes AS text[]))
        AS s (id, seq, previous, hash)
    WHERE l.tenant_id = CAST(:tenant AS uuid) AND l.id = s.id AND l.seq IS NULL
    RETURNING 1
    """
)


class Head(NamedTuple):
    """The last sealed entry of a tenant."""

    seq: int
    hash: str


class Seal(NamedTuple):
    """The place of an entry in its tenant's chain."""

    id: UUID
    seq: int
    previous: str
    hash: str


class SealsLost(Exception):
    """Entries that were to be sealed are not as they were read; nothing is sealed, and they are read again."""


START = Head(0, GENESIS)


async def waiting(connection: AsyncConnection, most: int) -> list[UUID]:
    """Tenants with entries that have no place yet; as maintenance."""
    return [row[0] for row in await _WAITING.run(connection, most=most)]


async def unsealed(connection: AsyncConnection, tenant_id: UUID, most: int) -> tuple[Head, list[AuditRow]]:
    """The head and the next entries, in the order of their ids; as the tenant."""
    row = await _HEAD.one(connection, tenant=tenant_id)
    entries = await _UNSEALED.run(connection, tenant=tenant_id, most=most)
    return Head._make(row) if row else START, [AuditRow._make(entry) for entry in entries]


async def seal(connection: AsyncConnection, tenant_id: UUID, head: Head, seals: Sequence[Seal]) -> bool:
    """Write the places, all of them or none; False when somebody else was first. As maintenance.

    Raises:
        SealsLost: an entry is gone or has a place already.
    """
    last = seals[-1]
    if head == START:
        moved = await _FIRST_HEAD.one(connection, tenant=tenant_id, seq=last.seq, hash=last.hash)
    else:
        moved = await _MOVE_HEAD.one(
            connection, tenant=tenant_id, seq=last.seq, hash=last.hash, from_seq=head.seq, from_hash=head.hash
        )
    if moved is None:
        return False
    try:
        written = await _SEAL.run(
            connection,
            tenant=tenant_id,
            ids=[each.id for each in seals],
            seqs=[each.seq for each in seals],
            previous=[each.previous for each in seals],
            hashes=[each.hash for each in seals],
        )
    except UniqueViolationError:
        raise SealsLost(f"place {seals[0].seq} is taken: the head was moved") from None
    if len(written) != len(seals):
        raise SealsLost(f"{len(seals) - len(written)} of {len(seals)} entries")
    return True
