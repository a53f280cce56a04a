"""Tenants with an agent, and runs of it, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.database.engine import Database
from libs.settings.database import DatabaseSettings
from tests.fixtures.stack import TestServers
from tests.integration.database.rows import Household, new_household


def settings(servers: TestServers, **changed: Any) -> DatabaseSettings:
    values: dict[str, Any] = {name.lower(): value for name, value in servers.environment.items()}
    return DatabaseSettings(**values | changed)


@pytest.fixture
async def database(servers: TestServers) -> AsyncIterator[Database]:
    opened = Database.open(settings(servers))
    yield opened
    await opened.close()


@pytest.fixture
async def narrow(servers: TestServers) -> AsyncIterator[Database]:
    """A pool of one connection: whoever comes next gets what the one before left."""
    opened = Database.open(settings(servers, database_pool_size=1))
    yield opened
    await opened.close()


@pytest.fixture
async def home(database: Database) -> Household:
    return await new_household(database)


@pytest.fixture
async def neighbours(database: Database) -> Household:
    return await new_household(database)
