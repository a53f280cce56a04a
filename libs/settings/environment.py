"""Settings come from environment variables; a secret `X` may stand in a file named by `X_FILE` instead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

DEVELOPMENT_MARK = "development-only"  # stands in every secret that docker-compose.yml has for development


class UnreadableSecret(ValueError):
    """A `…_FILE` variable names a file that cannot be read."""


class SecretFiles(PydanticBaseSettingsSource):
    """Reads `X` from the file named by the variable `X_FILE`, without its last line break."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableSecret(f"{variable} names {path}, which cannot be read: {type(error).__name__}") from error

    def __call__(self) -> dict[str, Any]:
        found = ((name, self.get_field_value(field, name)[0]) for name, field in self.settings_cls.model_fields.items())
        return {name: value for name, value in found if value is not None}


class Environment(BaseSettings):
    """Settings read once, in a program's main module, and passed down."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        case_sensitive=False,
        hide_input_in_errors=True,  # which would show every variable, secrets too
    )

    deployment: Literal["development", "production"] = Field(
        "development", description="`production` refuses the secrets that are shipped for development"
    )

    @property
    def development_secrets(self) -> list[str]:
        """The variables that hold a secret which everybody knows."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return [
            name.upper()
            for name, value in values
            if isinstance(value, SecretStr) and DEVELOPMENT_MARK in value.get_secret_value()
        ]

    @model_validator(mode="after")
    def _no_development_secrets_in_production(self) -> Self:
        if self.deployment == "production" and (known := self.development_secrets):
            raise ValueError(
                f"DEPLOYMENT=production refuses the secrets for development in {', '.join(known)}; "
                "`agent-runtime env --production` makes secrets of your own"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFiles(settings_cls)
