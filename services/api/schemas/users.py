"""Users of a tenant and blocks on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from libs.clients.keycloak_users import User
from libs.database.blocked_subjects import BlockRow
from services.api.schemas.shared import Answered, Sent, Text, rfc3339, to_json

SUBJECT = r"^[\x20-\x7e]{1,255}$"
Reason = Annotated[Text, StringConstraints(max_length=1000)]


class BlockCreate(Sent):
    reason: Reason = Field(default="", description="why, for the next operator")


class BlockRead(Answered):
    """A subject whose every request and open stream is refused, whatever its token says."""

    subject: str
    reason: str
    blocked_by: str
    blocked_at: datetime


class BlockPage(Answered):
    items: list[BlockRead]
    next_cursor: str | None


EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$"
Email = Annotated[str, StringConstraints(pattern=EMAIL, max_length=254)]
PersonName = Annotated[Text, StringConstraints(min_length=1, max_length=255)]
UserRole = Literal["operator", "user"]


class OperatorInvite(Sent):
    email: Email = Field(description="the user's name at the issuer, in lower case")
    first_name: PersonName | None = None
    last_name: PersonName | None = None

    @property
    def username(self) -> str:
        return self.email.lower()


class UserInvite(OperatorInvite):
    role: UserRole = "user"


class UserRead(Answered):
    """A user of the tenant, as the issuer has it."""

    id: str = Field(description="the `sub` of the user's tokens")
    username: str
    email: str | None
    first_name: str | None
    last_name: str | None
    role: UserRole | None
    status: Literal["invited", "active", "removed"] = Field(description="invited: has not signed in yet")
    blocked: bool
    created_at: datetime | None


class UserInvited(UserRead):
    temporary_password: str | None = Field(
        description="shown once and kept nowhere; null when this answer is repeated: invite again then"
    )


class UserPage(Answered):
    items: list[UserRead]
    next_cursor: str | None


def user_fields(user: User, role: str | None, *, blocked: bool) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "role": role,
        "status": "removed" if not user.enabled else "invited" if user.pending else "active",
        "blocked": blocked,
        "created_at": rfc3339(user.created_at),
    }


def block_json(row: BlockRow) -> str:
    return to_json({"subject": row.subject, "reason": row.reason, "blocked_by": row.by, "blocked_at": rfc3339(row.at)})
