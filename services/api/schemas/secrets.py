"""Secrets on the wire: values come in and never go out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from libs.database.secrets import SecretRow
from libs.domain.redaction import SHORTEST
from libs.domain.secrets import LONGEST, unusable
from services.api.schemas.shared import Answered, Sent, rfc3339, to_json


def _usable(value: SecretStr) -> SecretStr:
    if problem := unusable(value.get_secret_value()):
        raise ValueError(problem)
    return value


class SecretPut(Sent):
    value: Annotated[
        SecretStr, AfterValidator(_usable), Field(min_length=SHORTEST, max_length=LONGEST, description="visible ASCII")
    ]


class SecretRead(Answered):
    """What is known of a secret."""

    name: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class SecretPage(Answered):
    items: list[SecretRead]
    next_cursor: str | None


def secret_json(row: SecretRow) -> str:
    return to_json(
        {
            "name": row.name,
            "created_at": rfc3339(row.created_at),
            "created_by": row.created_by,
            "updated_at": rfc3339(row.updated_at),
            "updated_by": row.updated_by,
        }
    )
