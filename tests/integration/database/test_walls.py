"""The wall between tenants: as it is described, and as it holds."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from alembic import command
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import audit, erasures, events, steps
from libs.database.engine import PLATFORM, Database, open_migration_engine
from libs.database.steps import Change
from libs.domain.tools import NewArtifact
from libs.settings.database import MigrationSettings
from migrations.__main__ import configuration
from tests.fixtures.stack import TestServers
from tests.integration.database.rows import Household, fact, opened, sql
from tests.integration.database.walls import STORED, describe

WALLED = (
    "tenants", "agents", "agent_versions", "runs", "run_events", "model_calls", "artifacts", "idempotency_keys",
    "blocked_subjects", "provisioning_steps", "service_accounts",
    "audit_log", "audit_heads", "erasures",
    "storage",
    "secrets",
    "cost_corrections", "erased_usage",
    "projections", "refusals",
    "scores",
)  # fmt: skip
WITH_THEIR_RUN = ("run_events", "model_calls", "cost_corrections", "projections", "refusals")
APPEND_ONLY = (
    "run_events", "agent_versions", "artifacts", "audit_log", "audit_heads", "cost_corrections", "erased_usage",
)  # fmt: skip


@pytest.fixture
async def owner(servers: TestServers) -> AsyncIterator[AsyncConnection]:
    """The role that migrates: it owns the tables, and the wall stands before it too."""
    values = {name.lower(): value for name, value in servers.environment.items()}
    engine = open_migration_engine(MigrationSettings.model_validate(values))
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def furnish(home: Household) -> UUID:
    """A row in every table."""
    run = await home.run()
    file = NewArtifact("report.txt", "text/plain", 5, "ab" * 32, "key")
    async with home.database.tenant(home.tenant_id) as connection:
        [id_] = await steps.new_ids(connection, 1)
    await home.commit(run, Change((fact(),), opened=opened(), artifacts=((id_, file),)))
    await home.sql(
        "INSERT INTO idempotency_keys (tenant_id, subject, operation, key, digest) VALUES ($1, 'a', 'o', 'k', 'd')",
        home.tenant_id,
    )
    await home.sql("INSERT INTO blocked_subjects (tenant_id, subject, by) VALUES ($1, 'bob', 'ada')", home.tenant_id)
    await home.sql(
        "INSERT INTO provisioning_steps (tenant_id, kind, name, step, by) VALUES ($1, 'user', 'bob', 'made', 'ada')",
        home.tenant_id,
    )
    await home.sql(
        "INSERT INTO service_accounts (tenant_id, name, role, created_by) VALUES ($1, 'ci', 'user', 'ada')",
        home.tenant_id,
    )
    async with home.database.tenant(home.tenant_id) as connection:
        await audit.append(
            connection, actor="ada", source="127.0.0.1", action="promote_agent_version", target="agent/a"
        )
        await erasures.add(connection, "run", by="ada", source="127.0.0.1", run_id=uuid4())
    async with home.database.maintenance() as connection:
        await sql(connection, "INSERT INTO audit_heads (tenant_id, seq, hash) VALUES ($1, 0, 'ab')", home.tenant_id)
        await sql(
            connection,
            "INSERT INTO erased_usage (tenant_id, day, agent_id, provider, model, estimated, calls, unpriced_calls, "
            "input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, cost, correction) "
            "VALUES ($1, '2026-11-01', $2, 'p', 'm', false, 1, 0, 1, 0, 1, 0, 1, 0)",
            home.tenant_id,
            home.agent_id,
        )
        traced = "INSERT INTO projections (tenant_id, run_id, name) VALUES ($1, $2, 'traces')"
        await sql(connection, traced, home.tenant_id, run)
    await home.sql(
        "INSERT INTO refusals (tenant_id, run_id, kind, item, project, reason) "
        "VALUES ($1, $2, 'traces', '1-1', 'p', 'r')",
        home.tenant_id,
        run,
    )
    score = "INSERT INTO scores (tenant_id, run_id, name, number, created_by) VALUES ($1, $2, 'accuracy', 1, 'ada')"
    await home.sql(score, home.tenant_id, run)
    await home.sql(
        "INSERT INTO secrets (tenant_id, name, key_id, sealed, created_by, updated_by) "
        "VALUES ($1, 'crm', 'k1', 'sealed', 'ada', 'ada')",
        home.tenant_id,
    )
    await home.sql(
        "INSERT INTO cost_corrections (tenant_id, run_id, turn, attempt, number, re_rating_id, provider, model, "
        "opened_at, input_price, cached_input_price, output_price, amount, first) "
        "VALUES ($1, $2, 1, 1, 1, $2, 'p', 'm', now(), 1, 1, 1, 1, false)",
        home.tenant_id,
        run,
    )
    return run


# As described


async def test_the_walls_are_as_described(owner: AsyncConnection) -> None:
    """`WRITE_WALLS=1 pytest tests/integration/database/test_walls.py` writes the description anew, for review."""
    found = await describe(owner)
    if "WRITE_WALLS" in os.environ:
        STORED.write_text(found)
    assert found.splitlines() == STORED.read_text().splitlines()


async def test_the_metadata_is_what_the_migrations_make(owner: AsyncConnection) -> None:
    def check(connection: Connection) -> None:
        command.check(configuration(connection))

    await owner.run_sync(check)


async def test_every_table_with_a_tenant_stands_behind_the_wall(owner: AsyncConnection) -> None:
    rows = await owner.exec_driver_sql(
        "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity AND relkind = 'r'"
    )
    assert {row[0] for row in rows} == set(WALLED)
    rows = await owner.exec_driver_sql(
        "SELECT table_name FROM information_schema.columns WHERE column_name = 'tenant_id' AND table_schema = 'public'"
    )
    assert {row[0] for row in rows} == set(WALLED) - {"tenants"}


# As it holds


@pytest.mark.parametrize("table", WALLED)
async def test_a_query_without_a_tenant_sees_nothing(home: Household, narrow: Database, table: str) -> None:
    await furnish(home)
    async with narrow._tenants.connect() as connection:  # the engine itself: the forgotten `tenant()`
        assert await sql(connection, f"SELECT count(*) FROM {table}") == [(0,)]
    async with narrow.tenant(uuid4()) as connection:
        assert await sql(connection, f"SELECT count(*) FROM {table}") == [(0,)]


@pytest.mark.parametrize("table", WALLED)
async def test_a_tenant_sees_its_own_rows_only(home: Household, neighbours: Household, table: str) -> None:
    await furnish(home)
    await furnish(neighbours)
    column = "id" if table == "tenants" else "tenant_id"
    assert {row[0] for row in await home.sql(f"SELECT {column} FROM {table}")} == {home.tenant_id}


async def test_a_tenant_writes_no_plan(home: Household) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"):
        await home.sql("INSERT INTO plans (slug) VALUES ($1)", f"p-{uuid4()}")
    [(before,)] = await home.sql("SELECT running_runs FROM plans WHERE slug = 'default'")
    assert before is not None
    await home.sql("UPDATE plans SET running_runs = NULL")
    assert await home.sql("SELECT running_runs FROM plans WHERE slug = 'default'") == [(before,)]


async def test_the_setting_does_not_survive_its_transaction(home: Household, narrow: Database) -> None:
    """Afterwards it is '' and not null on that connection, which the policies must take for no tenant."""
    await furnish(home)
    async with narrow.tenant(home.tenant_id) as connection:
        assert (await sql(connection, "SELECT count(*) FROM runs")) != [(0,)]
    for outcome in ("committed", "failed"):
        async with narrow._tenants.connect() as connection:
            assert await sql(connection, "SELECT current_setting('app.tenant_id', true)") == [("",)], outcome
            assert await sql(connection, "SELECT count(*) FROM runs") == [(0,)]
        with pytest.raises(ZeroDivisionError):
            async with narrow.tenant(home.tenant_id):
                raise ZeroDivisionError


async def test_a_function_enters_its_tenant_for_itself_alone(home: Household, narrow: Database) -> None:
    run = await home.run()
    async with narrow.single() as connection:
        assert await steps.load(connection, home.tenant_id, run, 0) is not None
        assert await steps.load(connection, uuid4(), run, 0) is None
        assert await events.page(connection, uuid4(), run, 0, 10) == []
        assert await events.open_page(connection, uuid4(), run, 0, 10) is None
        assert await steps.commit(connection, home.tenant_id, run, Change((fact(),))) is not None
        assert await sql(connection, "SELECT count(*) FROM runs") == [(0,)]


async def test_a_row_cannot_be_written_into_another_tenant(home: Household, neighbours: Household) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"):
        await home.sql(
            "INSERT INTO agents (tenant_id, slug, created_by) VALUES ($1, 'intruder', 'ada')", neighbours.tenant_id
        )
    run = await neighbours.run()
    assert await home.commit(run, Change((fact(),), status="failed")) is None
    async with home.database.tenant(home.tenant_id) as connection:
        assert await steps.load(connection, neighbours.tenant_id, run, 0) is None
        assert await steps.commit(connection, neighbours.tenant_id, run, Change((fact(),))) is None
        assert await events.page(connection, neighbours.tenant_id, run, 0, 10) == []
        assert await events.open_page(connection, neighbours.tenant_id, run, 0, 10) is None
    assert (await neighbours.load(run)).state.last_seq == 1


async def test_a_row_cannot_refer_to_another_tenants(home: Household, neighbours: Household) -> None:
    """Keys hold the tenant: even what passes the policy cannot name a row behind another wall."""
    theirs = await neighbours.run()
    statements = (
        ("INSERT INTO runs (tenant_id, agent_id, version, created_by) VALUES ($1, $2, 1, 'a')", neighbours.agent_id),
        ("INSERT INTO run_events (tenant_id, run_id, seq, type, data) VALUES ($1, $2, 2, 't', '{}')", theirs),
        (
            "INSERT INTO artifacts (tenant_id, run_id, name, media_type, size, sha256, object_key, created_by) "
            "VALUES ($1, $2, 'n', 'm', 1, 's', 'k', 'a')",
            theirs,
        ),
        (
            "INSERT INTO model_calls (tenant_id, run_id, turn, attempt, provider, model, reserved_tokens) "
            "VALUES ($1, $2, 1, 1, 'p', 'm', 1)",
            theirs,
        ),
        (
            "INSERT INTO agent_versions (tenant_id, agent_id, number, digest, spec, created_by) "
            "VALUES ($1, $2, 9, 'd', '{}', 'a')",
            neighbours.agent_id,
        ),
    )
    for statement, theirs_id in statements:
        with pytest.raises(IntegrityError, match="foreign key"):
            await home.sql(statement, home.tenant_id, theirs_id)


@pytest.mark.parametrize("verb", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_the_log_is_append_only_for_those_who_write_it(home: Household, table: str, verb: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        await home.sql(verb.format(table))


async def test_maintenance_sees_no_content(home: Household) -> None:
    run = await furnish(home)
    async with home.database.maintenance() as connection:
        rows = await sql(connection, "SELECT status, last_seq, priority FROM runs WHERE id = $1", run)
        assert rows == [("queued", 2, 3)]
    content = ("input", "output", "labels", "error_message", "created_by", "agent_id", "input_object", "cost")
    denied = [f"SELECT {column} FROM runs" for column in content]
    denied += [
        f"SELECT * FROM {table}" for table in ("run_events", "agents", "agent_versions", "model_calls", "artifacts")
    ]
    denied += ["SELECT actor FROM audit_log", "SELECT after FROM audit_log", "UPDATE audit_log SET actor = 'eve'"]
    denied += ["DELETE FROM run_events", "DELETE FROM model_calls", "DELETE FROM audit_heads"]
    denied += ["SELECT name FROM secrets", "SELECT sealed FROM secrets"]
    denied += ["SELECT response FROM idempotency_keys", "UPDATE runs SET status = 'failed'"]
    for statement in denied:
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with home.database.maintenance() as connection:
                await sql(connection, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE agent_runtime_owner",
        "SET ROLE agent_runtime_maintenance",
        "SET SESSION AUTHORIZATION agent_runtime_owner",
        "ALTER TABLE runs DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON runs",
        "CREATE TABLE mine (id int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ],
)
async def test_those_who_serve_tenants_cannot_take_the_wall_down(home: Household, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        await home.sql(statement)


async def test_the_owner_does_not_see_rows_either(home: Household, owner: AsyncConnection) -> None:
    """Why a migration that touches rows needs policies of its own: without them it silently changes none."""
    await furnish(home)
    for table in WALLED:
        assert list(await owner.exec_driver_sql(f"SELECT count(*) FROM {table}")) == [(0,)], table
    assert (await owner.exec_driver_sql("UPDATE runs SET priority = 5")).rowcount == 0


async def test_what_belongs_to_no_tenant_is_a_tenant_of_its_own(home: Household) -> None:
    async with home.database.tenant(PLATFORM) as connection:
        assert await sql(connection, "SELECT count(*) FROM runs") == [(0,)]


async def test_nothing_is_deleted_that_no_open_erasure_covers(home: Household, neighbours: Household) -> None:
    """Maintenance deletes all of two tenants, and what goes is what an erasure names."""
    await furnish(home)
    await furnish(neighbours)
    tables = [table for table in WALLED if table not in ("audit_heads", "erasures", *WITH_THEIR_RUN)]
    ended = await home.run()
    await home.commit(ended, Change((fact(),), status="failed"))
    for table in tables:
        if table == "idempotency_keys":  # kept for a day, and swept by maintenance
            continue
        async with home.database.maintenance() as connection:
            column = "id" if table == "tenants" else "tenant_id"
            ours = f"DELETE FROM {table} WHERE {column} = ANY ($1) RETURNING 1"
            assert await sql(connection, ours, [home.tenant_id, neighbours.tenant_id]) == [], table
    async with home.database.tenant(home.tenant_id) as connection:
        await erasures.add(connection, "run", by="ada", source="x", run_id=ended)
    async with home.database.maintenance() as connection:
        both = [home.tenant_id, neighbours.tenant_id]
        assert await sql(connection, "DELETE FROM runs WHERE tenant_id = ANY ($1) RETURNING id", both) == [(ended,)]
    assert len(await neighbours.sql("SELECT 1 FROM runs")) == 1


async def test_a_run_that_has_not_ended_is_not_deleted(home: Household) -> None:
    run = await home.run()
    async with home.database.tenant(home.tenant_id) as connection:
        await erasures.add(connection, "run", by="ada", source="x", run_id=run)
        await erasures.add(connection, "tenant", by="ada", source="x", slug="home")
    async with home.database.maintenance() as connection:
        assert await sql(connection, "DELETE FROM runs WHERE tenant_id = $1 RETURNING id", home.tenant_id) == []


async def test_nobody_changes_what_an_erasure_covers(home: Household) -> None:
    async with home.database.tenant(home.tenant_id) as connection:
        await erasures.add(connection, "subject", by="ada", source="x", subject="bob")
    for statement in ("UPDATE erasures SET subject = 'ada'", "UPDATE erasures SET created_at = now()"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            await home.sql(statement)
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with home.database.maintenance() as connection:
                await sql(connection, statement)
