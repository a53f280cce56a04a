"""The .env of a production installation by docker compose: every secret made anew, nothing that is known to others."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

HEAD = """# Agent Runtime in production, made by `agent-runtime env --production`. Nobody else may read it. Keep a copy
# elsewhere: without SECRETS_KEYS the secrets of tenants cannot be opened. What else can be set stands in .env.example.
"""


class CannotWrite(ValueError):
    """The file cannot be made as asked; the message says why."""


def _word() -> str:
    return secrets.token_urlsafe(24)


def _key_of_secrets() -> str:
    return f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"


# Each in the words of docker-compose.yml.
SECRETS: dict[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": _word,
    "DATABASE_MIGRATION_PASSWORD": _word,
    "DATABASE_PASSWORD": _word,
    "DATABASE_MAINTENANCE_PASSWORD": _word,
    "TEMPORAL_DATABASE_PASSWORD": _word,
    "KEYCLOAK_DATABASE_PASSWORD": _word,
    "LANGFUSE_DATABASE_PASSWORD": _word,
    "REDIS_PASSWORD": _word,
    "S3_ACCESS_KEY_ID": lambda: secrets.token_hex(10),
    "S3_SECRET_ACCESS_KEY": _word,
    "SECRETS_KEYS": _key_of_secrets,
    "KEYCLOAK_ADMIN_PASSWORD": _word,
    "KEYCLOAK_PROVISIONER_SECRET": _word,
    "CONSOLE_CLIENT_SECRET": _word,
    "PLATFORM_ADMIN_PASSWORD": _word,
    "CLICKHOUSE_PASSWORD": _word,
    "LANGFUSE_SALT": _word,
    "LANGFUSE_ENCRYPTION_KEY": lambda: secrets.token_hex(32),
    "LANGFUSE_NEXTAUTH_SECRET": _word,
    "LANGFUSE_PUBLIC_KEY": lambda: f"pk-lf-{secrets.token_hex(16)}",
    "LANGFUSE_SECRET_KEY": lambda: f"sk-lf-{secrets.token_hex(16)}",
    "LANGFUSE_USER_PASSWORD": _word,
}


def write(path: Path, public_url: str) -> list[str]:
    """Write the file for this user alone; gives the names of what was made.

    Raises:
        CannotWrite: it is there already, or the URL is none under which others reach an installation safely.
    """
    address = _checked(public_url)
    plain = {"DEPLOYMENT": "production", "REALM_OPTIONS": "", "PUBLIC_URL": address, "CONSOLE_URL": address}
    made = {name: make() for name, make in SECRETS.items()}
    text = HEAD + "".join(f"{name}={value}\n" for name, value in {**plain, **made}.items())
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CannotWrite(
            f"{path} is there already and is left as it is: its secrets may be in use; "
            "name another file with --file, or take it away yourself"
        ) from None
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        os.fchmod(opened.fileno(), 0o600)  # whatever the umask says
        opened.write(text)
    return list(made)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "https" and parts.hostname and not (parts.username or parts.query or parts.fragment)
        fits = fits and parts.path in ("", "/") and not set(url) & set("$'\"\\ #")
    except ValueError:
        fits = False
    if not fits:
        raise CannotWrite("--public-url is https://HOST[:PORT], under which clients and browsers reach the gateway")
    return url.rstrip("/")
