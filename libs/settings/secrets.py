"""The keys that tenants' secrets are encrypted with."""

from __future__ import annotations

from pydantic import Field, SecretStr

from libs.settings.environment import Environment


class SecretsSettings(Environment):
    """Without keys no secret can be kept or used; everything else works."""

    secrets_keys: SecretStr | None = Field(
        None,
        description="keys of tenants' secrets, ID:KEY by comma or line, KEY 32 bytes in base64 (`openssl rand -base64 "
        "32`); the first encrypts, all decrypt",
    )
