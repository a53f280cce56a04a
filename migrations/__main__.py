"""`python -m migrations`: bring the database to the newest revision; harmless when it is there, or when two do it.

A database that a newer release has brought further is left as it is: the release before works on it, so that a rollback
is a start of that release.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from libs.database.engine import open_migration_engine
from libs.settings.database import MigrationSettings

LOCK = 0x41_67_52_74  # "AgRt": one migration at a time per database


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> str:
    """What there is to say of it."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    config = configuration(connection)
    found = MigrationContext.configure(connection).get_current_revision()
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        return f"The database is at revision {found}, of a newer release; it is left so."
    command.upgrade(config, "head")
    return "The database is at the newest revision."


async def main(settings: MigrationSettings) -> str:
    engine = open_migration_engine(settings)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(main(MigrationSettings())) + "\n")
