"""Secrets of a tenant: how specs name them, which values can be kept, and what is known of them during one call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from libs.domain.redaction import SHORTEST, Redactor, canonical

NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"
LONGEST = 4_000  # characters
_SENDABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

SecretName = Annotated[str, Field(pattern=NAME, description="name of a secret of the tenant")]


class SecretReference(BaseModel):
    """Stands for the value of a secret, which is read at the moment of the call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: SecretName


class SecretHeader(SecretReference):
    """A header whose value is a secret."""

    prefix: str = Field("", pattern=r"^([\x21-\x7e][\x20-\x7e]{0,98}[\x20-\x7e]?)?$", description='such as "Bearer "')


def unusable(value: str) -> str | None:
    """Why a value cannot be kept as a secret; without the value in it."""
    if len(value) > LONGEST or not _SENDABLE.fullmatch(value):
        return f"must be up to {LONGEST} visible ASCII characters, as headers are"
    if len(value) < SHORTEST or len(canonical(value)) < SHORTEST:
        return f"must have at least {SHORTEST} characters: shorter ones cannot be told from other text in answers"
    return None


class SecretMissing(Exception):
    """A call needs a secret that is not there; the message is for the model and the user."""


class Revealed:
    """The secrets that one call may use, as they were when it began; `missing` says why others cannot be used."""

    def __init__(self, values: Mapping[str, str] | None = None, missing: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})
        self._missing = dict(missing or {})
        self.redactor = Redactor(self._values)

    def __repr__(self) -> str:
        return f"Revealed({', '.join(self._values)})"

    def value(self, name: str) -> str:
        """Raises `SecretMissing`."""
        if name not in self._values:
            why = self._missing.get(name, "it does not exist")
            raise SecretMissing(
                f"This needs the secret {name}, but {why}. An operator can set it: agent-runtime secrets set {name}"
            )
        return self._values[name]


NOTHING_REVEALED = Revealed()
