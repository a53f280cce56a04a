"""Tenants on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from libs.database.tenants import TenantRow
from services.api.schemas.shared import Answered, Sent, Slug, Text, rfc3339, to_json
from services.api.schemas.users import OperatorInvite, UserInvited

TenantStatus = Literal["active", "suspended"]
TenantState = Literal["active", "suspended", "deleting"]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]


class TenantCreate(Sent):
    slug: Slug
    name: Name | None = Field(default=None, description="default: the slug")
    plan: Slug | None = Field(default=None, description="default: `default`")
    id: UUID | None = Field(default=None, description="default: a new one; given, where an identity provider knows it")

    operator: OperatorInvite | None = Field(
        default=None,
        description="its first operator, made at the issuer too; repeat the request after a failure: it goes on",
    )


class TenantUpdate(Sent):
    plan: Slug | None = Field(default=None, description="what the tenant may use, in effect within a second")
    name: Name | None = None
    status: TenantStatus | None = Field(default=None, description="a suspended tenant's requests get 403")
    retention_days: Annotated[int, Field(ge=1, le=36500, strict=True)] | None = Field(
        default=None, description="runs are erased so long after their end, uploads after their arrival; null: never"
    )


class TenantRead(Answered):
    id: str
    slug: str
    name: str
    status: TenantState
    plan: str = Field(description="slug of its plan")
    retention_days: int | None = Field(description="null: kept for ever")
    created_at: datetime


class TenantMade(TenantRead):
    operator: UserInvited | None = Field(default=None, description="when one was asked for")


class TenantPage(Answered):
    items: list[TenantRead]
    next_cursor: str | None


def tenant_json(row: TenantRow) -> str:
    return to_json(
        {
            "id": str(row.id),
            "slug": row.slug,
            "name": row.name,
            "status": row.status,
            "plan": row.plan,
            "retention_days": row.retention_days,
            "created_at": rfc3339(row.created_at),
        }
    )
