"""What Alembic runs: migrations on the connection it is given, as the role that owns the tables."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection

from libs.database.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, compare_server_default=False, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


_connection: Any = context.config.attributes.get("connection")
if _connection is None:
    raise SystemExit("Run migrations with `python -m migrations`, which opens the connection.")
_run(_connection)
