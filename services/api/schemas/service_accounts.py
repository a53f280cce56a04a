"""Service accounts on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from libs.database.service_accounts import AccountRow
from services.api.schemas.shared import Answered, Sent, Slug, rfc3339
from services.api.schemas.users import UserRole


class ServiceAccountCreate(Sent):
    name: Slug
    role: UserRole = "user"


class ServiceAccountRead(Answered):
    """A client of the issuer that acts for this tenant, in this role, by our word alone."""

    name: str
    role: UserRole
    client_id: str | None = Field(description="null while its client is not made yet: repeat the creation then")
    created_at: datetime
    created_by: str
    rotated_at: datetime | None = Field(description="when its secret was replaced last")


class ServiceAccountSecret(ServiceAccountRead):
    client_secret: str | None = Field(description="shown once; null when this answer is repeated: rotate then")
    token_url: str = Field(description="where it gets its tokens, with grant_type=client_credentials")


class ServiceAccountPage(Answered):
    items: list[ServiceAccountRead]
    next_cursor: str | None


def account_fields(row: AccountRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "role": row.role,
        "client_id": row.client_id,
        "created_at": rfc3339(row.created_at),
        "created_by": row.created_by,
        "rotated_at": rfc3339(row.rotated_at),
    }
