"""Where Redis (or Valkey) is: live events and counters, never the only copy of anything."""

from __future__ import annotations

from pydantic import Field, SecretStr

from libs.settings.environment import Environment


class RedisSettings(Environment):
    """Redis 7 or later, or Valkey 8 or later."""

    redis_url: str = Field(description="redis://HOST:PORT/DB, rediss:// for TLS; no password")
    redis_username: str | None = Field(None, description="ACL user, where one is used")
    redis_password: SecretStr | None = Field(None, description="password for REDIS_URL")
    redis_ca_file: str | None = Field(None, description="CA bundle (PEM) for rediss://")
