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
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.engine import open_migration_engine
from libs.settings.database import MigrationSettings

LOCK = 0x41_67_52_74  # "AgRt": one migration at a time per database
PAUSE = 0.2  # seconds, between looks at the lock
TRIES, BETWEEN_TRIES = 100, 1.0  # at a revision whose tables somebody uses; seconds
LOCK_NOT_AVAILABLE = "55P03"


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


async def upgrade(connection: AsyncConnection) -> str:
    """What there is to say of it.

    Each revision is committed by itself, so that its locks are held no longer than it takes. `connection` is in no
    transaction, and nobody waits for the lock in one: building an index waits for those.
    """
    while not (await connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK})).scalar():
        await connection.rollback()
        await asyncio.sleep(PAUSE)
    await connection.commit()
    try:
        return await _patiently(connection)
    finally:
        await connection.rollback()
        await connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        await connection.commit()


async def _patiently(connection: AsyncConnection) -> str:
    """Try a revision again that did not get its locks in time: those who waited behind it have had theirs meanwhile."""
    tries = 0
    while True:
        try:
            return await connection.run_sync(_upgrade)
        except DBAPIError as error:
            tries += 1
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or tries == TRIES:
                raise
        await connection.rollback()
        await asyncio.sleep(BETWEEN_TRIES)


def _upgrade(connection: Connection) -> str:
    config = configuration(connection)
    found = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        return f"The database is at revision {found}, of a newer release; it is left so."
    command.upgrade(config, "head")
    return "The database is at the newest revision."


async def main(settings: MigrationSettings) -> str:
    engine = open_migration_engine(settings)
    try:
        async with engine.connect() as connection:
            return await upgrade(connection)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(main(MigrationSettings())) + "\n")
