"""The LangFuse project that is used where nothing else is said."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator

from libs.settings.environment import Environment


class LangfuseSettings(Environment):
    """LangFuse 3 or later, its cloud or self-hosted; without a host it is not used."""

    langfuse_host: str | None = Field(
        None, pattern=r"^https?://[^@\s]+$", description="http(s)://HOST[:PORT] of LangFuse; empty: not used"
    )
    langfuse_public_key: str | None = Field(None, description="public key (pk-lf-…) of the project for all tenants")
    langfuse_secret_key: SecretStr | None = Field(None, description="secret key (sk-lf-…) of that project")

    @model_validator(mode="after")
    def _with_both_keys(self) -> LangfuseSettings:
        keys = (self.langfuse_public_key, self.langfuse_secret_key)
        if self.langfuse_host and not all(keys):
            raise ValueError("LANGFUSE_HOST needs LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")
        return self
