"""The audit log: appended to by every administrative act in its own transaction, read by its tenant."""

# ruff: noqa: S608 - what is put into the statements are constants of this module

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement
from libs.domain.audit import moment, state_text
from libs.domain.texts import clean

COLUMNS = "tenant_id, id, at, actor, source, action, target, before, after, seq, previous, hash"
_APPEND = Statement(
    """
    INSERT INTO audit_log (tenant_id, actor, source, action, target, before, after)
    VALUES (CAST(current_setting('app.tenant_id') AS uuid), CAST(:actor AS text), CAST(:source AS text),
            CAST(:action AS text), CAST(:target AS text), CAST(:before AS text), CAST(:after AS text))
    """
)

_NOTED = Statement(
    "SELECT 1 FROM audit_log WHERE target = CAST(:target AS text) AND action = CAST(:action AS text) LIMIT 1"
)
_HEADS = Statement("SELECT seq, hash, sealed_at FROM audit_heads")
_CHAIN = Statement(
    f"SELECT {COLUMNS} FROM audit_log WHERE seq > CAST(:after AS bigint) ORDER BY seq LIMIT CAST(:limit AS int)"
)
# What was sealed while an export was on its way stands here too: it was not in the chain when that was read.
_TAIL = Statement(
    f"""
    SELECT {COLUMNS} FROM audit_log
    WHERE (seq IS NULL OR seq > CAST(:sealed AS bigint))
        AND (CAST(:after AS uuid) IS NULL OR id > CAST(:after AS uuid))
    ORDER BY id LIMIT CAST(:limit AS int)
    """
)
_CONDITIONS = {
    "actor": "actor = CAST(:actor AS text)",
    "action": "action = CAST(:action AS text)",
    "target": "target = CAST(:target AS text)",
    "since": "at >= CAST(:since AS timestamptz)",
    "until": "at < CAST(:until AS timestamptz)",
    "before_id": "id < CAST(:before_id AS uuid)",
}


class AuditRow(NamedTuple):
    """An entry. `before` and `after` are canonical JSON text; `seq`, `previous` and `hash` are None until sealed."""

    tenant_id: UUID
    id: UUID
    at: datetime
    actor: str
    source: str
    action: str
    target: str
    before: str | None
    after: str | None
    seq: int | None
    previous: str | None
    hash: str | None

    def hashed(self, seq: int) -> dict[str, Any]:
        """What the hash of the entry in this place is of."""
        return {
            "tenant_id": str(self.tenant_id),
            "seq": seq,
            "id": str(self.id),
            "at": moment(self.at),
            "actor": self.actor,
            "source": self.source,
            "action": self.action,
            "target": self.target,
            "before": None if self.before is None else json.loads(self.before),
            "after": None if self.after is None else json.loads(self.after),
        }


class AuditFilter(NamedTuple):
    """Which entries are listed; None does not restrict."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before_id: UUID | None = None


class HeadRow(NamedTuple):
    seq: int
    hash: str
    sealed_at: datetime


async def append(
    connection: AsyncConnection,
    *,
    actor: str,
    source: str,
    action: str,
    target: str,
    before: Any = None,
    after: Any = None,
) -> None:
    """Note who did what, from where, for the tenant of this transaction; true when the transaction commits.

    `action` is the operation's name, `target` like `agent/helper`. `before` and `after` are what the act changed, never
    a secret and never content of a run. Nobody waits: the chain is made afterwards.
    """
    await _APPEND.run(
        connection,
        actor=clean(actor)[0],
        source=clean(source)[0],
        action=action,
        target=clean(target)[0],
        before=state_text(before),
        after=state_text(after),
    )


async def noted(connection: AsyncConnection, action: str, target: str) -> bool:
    """Whether there is such an entry, for what must be noted once however often it is tried."""
    return await _NOTED.one(connection, action=action, target=target) is not None


async def page(connection: AsyncConnection, wanted: AuditFilter, limit: int) -> list[AuditRow]:
    """Newest first."""
    values = {name: value for name, value in wanted._asdict().items() if value is not None}
    rows = await _listing(tuple(values)).run(connection, **values, limit=limit)
    return [AuditRow._make(row) for row in rows]


async def chain(connection: AsyncConnection, after: int, limit: int) -> list[AuditRow]:
    """Sealed entries in the order of the chain."""
    return [AuditRow._make(row) for row in await _CHAIN.run(connection, after=after, limit=limit)]


async def tail(connection: AsyncConnection, sealed: int, after: UUID | None, limit: int) -> list[AuditRow]:
    """Entries beyond a place of the chain, as if they had none yet."""
    rows = await _TAIL.run(connection, sealed=sealed, after=after, limit=limit)
    return [AuditRow._make(row)._replace(seq=None, previous=None, hash=None) for row in rows]


async def head(connection: AsyncConnection) -> HeadRow | None:
    """The last sealed entry; None before the first."""
    row = await _HEADS.one(connection)
    return HeadRow._make(row) if row else None


@lru_cache(maxsize=64)
def _listing(conditions: tuple[str, ...]) -> Statement:
    where = " AND ".join(_CONDITIONS[name] for name in conditions) or "true"
    return Statement(f"SELECT {COLUMNS} FROM audit_log WHERE {where} ORDER BY id DESC LIMIT CAST(:limit AS int)")
