"""Migrations of a database with two tenants in it: every row is there afterwards, behind the same wall.

Under forced row security the owner's statements touch no row and its foreign keys validate over rows that it cannot
see, both without an error; so each migration runs here over rows of two tenants, which are counted as each tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.database.engine import PLATFORM, Database, open_migration_engine
from libs.settings.database import DatabaseSettings, MigrationSettings
from migrations.__main__ import configuration, upgrade
from tests.fixtures.platform import eventually
from tests.fixtures.stack import TestServers
from tests.integration.database.rows import sql
from tests.integration.database.walls import STORED, describe

TENANTS = ("00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b")
AGENT, RUN = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"
# Rows as the first revision knows them, in the order of their references; {t} is the tenant. A migration that adds a
# table or a column worth migrating adds a line under its own revision: it is inserted once that revision is there.
ROWS: dict[str, tuple[str, ...]] = {
    "0001": (
        "INSERT INTO tenants (id, slug, name) VALUES ('{t}', 't-' || right('{t}', 1), 'A tenant')",
        f"INSERT INTO agents (tenant_id, id, slug, created_by) VALUES ('{{t}}', '{AGENT}', 'helper', 'ada')",
        "INSERT INTO agent_versions (tenant_id, agent_id, number, digest, spec, created_by) "
        f"SELECT '{{t}}', '{AGENT}', n, 'sha256:' || n, '{{{{}}}}', 'ada' FROM generate_series(1, 3) n",
        f"UPDATE agents SET promoted_version = 2 WHERE id = '{AGENT}'",
        "INSERT INTO runs (tenant_id, id, agent_id, version, created_by, last_seq, input) "
        f"VALUES ('{{t}}', '{RUN}', '{AGENT}', 1, 'ada', 5, '\"hello\"')",
        "INSERT INTO runs (tenant_id, agent_id, version, created_by, status, finished_at) "
        f"SELECT '{{t}}', '{AGENT}', 2, 'bob', 'completed', now() FROM generate_series(1, 4)",
        "INSERT INTO run_events (tenant_id, run_id, seq, type, key, data) "
        f"SELECT '{{t}}', '{RUN}', n, 'model.started', 'm' || n, '{{{{\"a\": 1}}}}' FROM generate_series(1, 5) n",
        "INSERT INTO model_calls (tenant_id, run_id, turn, attempt, provider, model, reserved_tokens) "
        f"SELECT '{{t}}', '{RUN}', n, 1, 'p', 'm', 10 FROM generate_series(1, 2) n",
        "INSERT INTO artifacts (tenant_id, run_id, name, media_type, size, sha256, object_key, created_by) "
        f"VALUES ('{{t}}', '{RUN}', 'report.txt', 'text/plain', 1, 'ab', 'key', 'ada')",
        "INSERT INTO idempotency_keys (tenant_id, subject, operation, key, digest) "
        "VALUES ('{t}', 'ada', 'POST /v1/runs', 'k', 'd')",
        "INSERT INTO runs (tenant_id, agent_id, version, created_by, status, admitted_at) "
        f"VALUES ('{{t}}', '{AGENT}', 2, 'bob', 'paused', now())",
    ),
    "0004": (
        "INSERT INTO blocked_subjects (tenant_id, subject, by) VALUES ('{t}', 'bob', 'ada')",
        "INSERT INTO provisioning_steps (tenant_id, kind, name, step, by) VALUES ('{t}', 'user', 'bob', 'made', 'ada')",
        "INSERT INTO service_accounts (tenant_id, name, role, created_by) VALUES ('{t}', 'ci', 'user', 'ada')",
    ),
    "0006": (
        "INSERT INTO audit_log (tenant_id, actor, source, action, target) "
        "SELECT '{t}', 'ada', '127.0.0.1', 'update_tenant', 'tenant/a' FROM generate_series(1, 2)",
    ),
    "0007": (
        "INSERT INTO erasures (tenant_id, kind, subject, requested_by, source) "
        "VALUES ('{t}', 'subject', 'bob', 'ada', 'x')",
        "UPDATE tenants SET retention_days = 30 WHERE id = '{t}'",
    ),
    "0008": (
        "INSERT INTO cost_corrections (tenant_id, run_id, turn, attempt, number, re_rating_id, provider, model, "
        "opened_at, input_price, cached_input_price, output_price, amount, first) "
        f"VALUES ('{{t}}', '{RUN}', 1, 1, 1, '{RUN}', 'p', 'm', now(), 1, 1, 2, 0.5, true)",
    ),
    "0009": (
        "INSERT INTO refusals (tenant_id, run_id, kind, item, project, status, reason) "
        f"VALUES ('{{t}}', '{RUN}', 'traces', '1-5', 'langfuse', 400, 'It does not accept the request.')",
    ),
    "0010": (
        "INSERT INTO scores (tenant_id, run_id, name, truth, created_by) "
        f"VALUES ('{{t}}', '{RUN}', 'accuracy', true, 'ada')",
    ),
    "0005": (
        "INSERT INTO secrets (tenant_id, name, key_id, sealed, created_by, updated_by) "
        "VALUES ('{t}', 'crm', 'k1', '\\x01', 'ada', 'ada')",
    ),
}
LONG_AGO = "UPDATE plans SET created_at = created_at - interval '1 day', updated_at = updated_at - interval '1 day'"
COUNTED: dict[str, dict[str, int]] = {
    "0001": {
        "tenants": 1, "agents": 1, "agent_versions": 3, "runs": 6, "run_events": 5, "model_calls": 2, "artifacts": 1,
        "idempotency_keys": 1,
    },
    "0003": {"storage": 1},
    "0004": {"blocked_subjects": 1, "provisioning_steps": 1, "service_accounts": 1},
    "0006": {"audit_log": 2},
    "0007": {"erasures": 1},
    "0008": {"cost_corrections": 1},
    "0010": {"scores": 1},
    "0005": {"secrets": 1},
    "0009": {"refusals": 1},
}  # fmt: skip


def expected(revision: str) -> dict[str, int]:
    """The rows of a tenant once this revision is there."""
    return {table: rows for since, tables in COUNTED.items() if since <= revision for table, rows in tables.items()}


class Empty:
    """A database without tables, and its two ways in."""

    def __init__(self, environment: dict[str, str]) -> None:
        values: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
        self.settings = MigrationSettings(**values)
        self.owner: AsyncEngine = open_migration_engine(self.settings)
        self.database = Database.open(DatabaseSettings(**values))

    async def upgrade(self, revision: str) -> None:
        def run(connection: Connection) -> None:
            command.upgrade(configuration(connection), revision)

        async with self.owner.connect() as connection:
            await connection.run_sync(run)

    async def revisions(self) -> list[str]:
        """From the first to the newest."""

        def read(connection: Connection) -> list[str]:
            found = ScriptDirectory.from_config(configuration(connection)).walk_revisions()
            return [script.revision for script in found][::-1]

        async with self.owner.connect() as connection:
            return await connection.run_sync(read)

    async def insert(self, revision: str) -> None:
        for tenant in TENANTS:
            async with self.database.tenant(UUID(tenant)) as connection:
                for row in ROWS.get(revision, ()):
                    await sql(connection, row.format(t=tenant))

    async def counts(self, tenant: str, tables: Iterable[str]) -> dict[str, int]:
        async with self.database.tenant(UUID(tenant)) as connection:
            return {table: (await sql(connection, f"SELECT count(*) FROM {table}"))[0][0] for table in tables}


@pytest.fixture
async def empty(servers: TestServers) -> AsyncIterator[Empty]:
    environment = await asyncio.to_thread(servers.new_database, "empty", migrated=False)
    made = Empty(environment)
    yield made
    await made.database.close()
    await made.owner.dispose()


async def test_every_migration_keeps_the_rows_of_two_tenants(empty: Empty) -> None:
    for revision in await empty.revisions():
        await empty.upgrade(revision)
        await empty.insert(revision)
        for tenant in TENANTS:
            assert await empty.counts(tenant, expected(revision)) == expected(revision), revision
    async with empty.owner.connect() as connection:
        assert (await describe(connection)).splitlines() == STORED.read_text().splitlines()


async def test_two_migrations_at_once_and_again_are_one(empty: Empty) -> None:
    async def migrate() -> None:
        async with empty.owner.connect() as connection:
            await upgrade(connection)

    await asyncio.gather(migrate(), migrate(), migrate())
    await migrate()
    async with empty.owner.connect() as connection:
        assert (await describe(connection)).splitlines() == STORED.read_text().splitlines()


async def test_the_default_plan_runs_more_at_once_where_nobody_has_set_it(empty: Empty) -> None:
    async def running() -> int:
        [[found]] = await of_plan(empty, "running_runs")
        return int(found)

    await empty.upgrade("0011")
    assert await running() == 200
    await empty.upgrade("0012")
    assert await running() == 500


async def test_a_default_plan_that_somebody_has_set_stays(empty: Empty) -> None:
    await empty.upgrade("0011")
    async with empty.database.tenant(PLATFORM) as connection:
        await sql(connection, LONG_AGO)
        await sql(connection, "UPDATE plans SET updated_at = clock_timestamp() WHERE slug = 'default'")
    await empty.upgrade("0012")
    assert await of_plan(empty, "running_runs") == [(200,)]
    await empty.upgrade("0013")
    limits = "running_runs, agents, agent_versions, secrets, service_accounts, users"
    assert await of_plan(empty, limits) == [(200, 1000, 1000, 1000, 1000, 10_000)]


async def of_plan(empty: Empty, columns: str) -> list[Any]:
    async with empty.database.tenant(PLATFORM) as connection:
        return await sql(connection, f"SELECT {columns} FROM plans WHERE slug = 'default'")


async def test_nobody_waits_long_behind_a_revision_that_waits_for_its_table(
    empty: Empty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.database.engine.MIGRATION_LOCK_TIMEOUT", "200ms")
    await empty.upgrade("0009")
    engine = open_migration_engine(empty.settings)
    async with engine.connect() as migrating, empty.owner.connect() as writing, empty.owner.connect() as late:
        await sql(writing, "LOCK TABLE runs IN ROW EXCLUSIVE MODE")  # as whoever writes a run
        upgrading = asyncio.create_task(upgrade(migrating))

        async def waits() -> bool:
            blocked = "SELECT 1 FROM pg_locks WHERE relation = 'runs'::regclass AND NOT granted"
            return bool(await sql(late, blocked))

        await eventually(waits)
        async with asyncio.timeout(5):
            await sql(late, "LOCK TABLE runs IN ROW EXCLUSIVE MODE")
        await late.rollback()
        assert not upgrading.done()
        await writing.rollback()
        assert "newest revision" in await upgrading
    await engine.dispose()
