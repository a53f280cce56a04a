"""The audit log on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from libs.database.audit import AuditRow, HeadRow
from services.api.schemas.shared import Answered, rfc3339, spliced, to_json


class AuditEntryRead(Answered):
    """One administrative act or refusal."""

    tenant_id: str = Field(description="the nil UUID for the platform itself")
    id: str
    at: datetime
    actor: str = Field(description="the subject of its token")
    source: str = Field(description="the address that the request came from")
    action: str = Field(examples=["promote_agent_version"])
    target: str = Field(examples=["agent/helper"])
    before: Any = None
    after: Any = None
    seq: int | None = Field(description="its place in the tenant's chain; null until it is sealed, within seconds")
    previous: str | None = Field(description="the hash of the entry before it; 64 zeros for the first")
    hash: str | None = Field(description="SHA-256 (hex) over the previous hash, a line feed and the canonical entry")


class AuditPage(Answered):
    items: list[AuditEntryRead]
    next_cursor: str | None


class AuditHeadRead(Answered):
    """The last sealed entry. Keep it elsewhere: nothing up to it can then be changed unseen."""

    head: str | None = Field(description="`<seq>:<hash>`; null before the first entry is sealed")
    sealed_at: datetime | None


def entry_json(row: AuditRow) -> str:
    fields = {
        "tenant_id": str(row.tenant_id),
        "id": str(row.id),
        "at": rfc3339(row.at),
        "actor": row.actor,
        "source": row.source,
        "action": row.action,
        "target": row.target,
        "seq": row.seq,
        "previous": row.previous,
        "hash": row.hash,
    }
    return spliced(fields, before=row.before or "null", after=row.after or "null")


def head_json(row: HeadRow | None) -> str:
    if row is None:
        return to_json({"head": None, "sealed_at": None})
    return to_json({"head": f"{row.seq}:{row.hash}", "sealed_at": rfc3339(row.sealed_at)})
