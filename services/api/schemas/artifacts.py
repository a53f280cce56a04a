"""Artifacts on the wire."""

from __future__ import annotations

from datetime import datetime

from libs.database.artifacts import ArtifactRow
from services.api.schemas.shared import Answered, rfc3339, to_json


class ArtifactRead(Answered):
    id: str
    run_id: str | None
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime
    created_by: str


class ArtifactPage(Answered):
    items: list[ArtifactRead]
    next_cursor: str | None


def artifact_json(row: ArtifactRow) -> str:
    return to_json(
        {
            "id": str(row.id),
            "run_id": str(row.run_id) if row.run_id else None,
            "name": row.name,
            "media_type": row.media_type,
            "size": row.size,
            "sha256": row.sha256,
            "created_at": rfc3339(row.created_at),
            "created_by": row.created_by,
        }
    )
