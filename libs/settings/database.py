"""Where PostgreSQL is, and as whom each part of the platform speaks to it."""

from __future__ import annotations

import ssl
from typing import Literal

from pydantic import Field, SecretStr

from libs.settings.environment import Environment


class DatabaseSettings(Environment):
    """PostgreSQL 18 or later (ids are its `uuidv7()`)."""

    database_url: str = Field(description="postgresql://USER@HOST:PORT/NAME as the role that serves tenants")
    database_password: SecretStr | None = Field(None, description="password for DATABASE_URL")
    database_maintenance_url: str = Field(
        description="the same database as the role that finds work across tenants and sees no content"
    )
    database_maintenance_password: SecretStr | None = Field(None, description="password for DATABASE_MAINTENANCE_URL")
    database_tls: Literal["disable", "require", "verify-full"] = Field("disable", description="TLS to PostgreSQL")
    database_ca_file: str | None = Field(None, description="CA bundle (PEM) for DATABASE_TLS=verify-full")
    database_pool_size: int = Field(20, ge=1, description="connections a process keeps for tenants' work")


class MigrationSettings(Environment):
    """The owner of the tables; only `python -m migrations` reads these."""

    database_migration_url: str = Field(description="the same database as the role that owns the tables")
    database_migration_password: SecretStr | None = Field(None, description="password for DATABASE_MIGRATION_URL")
    database_tls: Literal["disable", "require", "verify-full"] = Field("disable", description="TLS to PostgreSQL")
    database_ca_file: str | None = Field(None, description="CA bundle (PEM) for DATABASE_TLS=verify-full")


def tls_context(mode: str, ca_file: str | None) -> ssl.SSLContext | None:
    """The context for a TLS mode of libpq's names; None means no TLS."""
    if mode == "disable":
        return None
    context = ssl.create_default_context(cafile=ca_file)
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
