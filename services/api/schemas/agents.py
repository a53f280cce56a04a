"""Agents and their versions on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from libs.database.agents import AgentRow, VersionRow
from libs.domain.agents import AgentDraft
from services.api.schemas.shared import Answered, Sent, Slug, Text, rfc3339, spliced, to_json

Description = Annotated[Text, StringConstraints(max_length=2000)]


class AgentCreate(Sent):
    slug: Slug
    description: Description = ""
    spec: AgentDraft = Field(description="becomes version 1, which is promoted")


class AgentUpdate(Sent):
    description: Description | None = None


class AgentRead(Answered):
    id: str
    slug: str
    description: str
    promoted_version: int | None = Field(description="what a run gets that names no version")
    archived_at: datetime | None
    created_at: datetime


class AgentPage(Answered):
    items: list[AgentRead]
    next_cursor: str | None


class VersionCreate(Sent):
    spec: AgentDraft
    promote: bool = Field(default=False, strict=True)


class VersionRead(Answered):
    """A version; it never changes."""

    agent: str
    number: int
    digest: str = Field(pattern="^sha256:[0-9a-f]{64}$")
    spec: dict[str, Any] = Field(description="as it was sent; a prompt that it named is pinned: text, name, version")
    promoted: bool
    created_at: datetime
    created_by: str


class VersionPage(Answered):
    items: list[VersionRead]
    next_cursor: str | None


def agent_json(row: AgentRow) -> str:
    return to_json(
        {
            "id": str(row.id),
            "slug": row.slug,
            "description": row.description,
            "promoted_version": row.promoted_version,
            "archived_at": rfc3339(row.archived_at),
            "created_at": rfc3339(row.created_at),
        }
    )


def version_json(row: VersionRow) -> str:
    fields = {
        "agent": row.agent,
        "number": row.number,
        "digest": row.digest,
        "promoted": row.promoted,
        "created_at": rfc3339(row.created_at),
        "created_by": row.created_by,
    }
    return spliced(fields, spec=row.spec)
