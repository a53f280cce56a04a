"""`python -m migrations`: bring the database to the newest revision; harmless when it is there, or when two do it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from libs.database.engine import open_migration_engine
from libs.settings.database import MigrationSettings

LOCK = 0x41_67_52_74  # "AgRt": one migration at a time per database


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    command.upgrade(configuration(connection), "head")


async def main(settings: MigrationSettings) -> None:
    engine = open_migration_engine(settings)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(MigrationSettings()))
    sys.stdout.write("The database is at the newest revision.\n")
