"""SQL as the roles of the platform: what is seen behind another tenant's wall, and whether it can be taken down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from deploy.embedded.isolation.trying import Tried, Victim

LAYER = "SQL"
READ, UNSET, WRITE, WALL, CATALOGUE, FINDER = (
    "rows of the other tenant",
    "rows without a tenant",
    "writing into the other tenant",
    "taking the wall down",
    "tables without a wall",
    "content as maintenance",
)
# Maintenance may read all of them: who the tenants are, hashes, what is to be erased, how much is kept, how far each
# run's projections have come, sums of what erased runs used.
WITHOUT_CONTENT = frozenset({"tenants", "audit_heads", "erasures", "storage", "projections", "erased_usage"})
_TABLES = """
    SELECT c.relname AS name, a.attname AS tenant, c.relrowsecurity AND c.relforcerowsecurity AS walled
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND (a.attname = 'tenant_id' OR (c.relname = 'tenants' AND a.attname = 'id'))
    ORDER BY c.relname
"""
_TAKE_DOWN = (
    "SET ROLE agent_runtime_owner",
    "SET ROLE agent_runtime_maintenance",
    "SET SESSION AUTHORIZATION agent_runtime_owner",
    "ALTER ROLE agent_runtime_app BYPASSRLS",
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY tenant ON {table}",
    "CREATE POLICY everything ON {table} USING (true)",
    "SET row_security = off; SELECT count(*) FROM {table}",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "CREATE TABLE mine (id int)",
    "COPY {table} TO PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
)


async def attacks(environment: Mapping[str, str], attacker: str, victim: Victim) -> AsyncIterator[Tried]:
    async with _connected(environment, "DATABASE") as connection:
        tables = await connection.fetch(_TABLES)
        for tried in await _catalogue(connection, tables):
            yield tried
        for table in tables:  # on a connection that never had a tenant, and further down on one that had
            yield await _without(connection, table)
        for table in tables:
            yield await _reading(connection, table, attacker, victim)
            yield await _without(connection, table)
            for statement in _writes(table):
                yield await _writing(connection, table["name"], statement, attacker, victim)
            for statement in _TAKE_DOWN:
                yield await _refused(connection, WALL, statement.format(table=table["name"]))
        yield await _control(connection, victim)
    async with _connected(environment, "DATABASE_MAINTENANCE") as connection:
        for name in sorted({table["name"] for table in tables} - WITHOUT_CONTENT):
            yield await _refused(connection, FINDER, f'SELECT * FROM "{name}"')  # noqa: S608 - the database's own name


@asynccontextmanager
async def _connected(environment: Mapping[str, str], name: str) -> AsyncIterator[Any]:
    url = urlsplit(environment[f"{name}_URL"])
    connection = await asyncpg.connect(
        host=url.hostname,
        port=url.port,
        user=url.username,
        database=url.path.strip("/"),
        password=environment[f"{name}_PASSWORD"],
        ssl=False,
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _as_tenant(connection: Any, tenant_id: str) -> AsyncIterator[None]:
    """A transaction of a tenant, in which nothing is kept."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SELECT set_config('app.tenant_id', $1, true)", tenant_id)
        yield
    finally:
        await transaction.rollback()


async def _catalogue(connection: Any, tables: list[Any]) -> list[Tried]:
    role = await connection.fetchrow(
        "SELECT rolsuper OR rolbypassrls AS free FROM pg_roles WHERE rolname = current_user"
    )
    leak = "the role that serves tenants is not held by policies" if role["free"] else None
    found = [Tried(LAYER, CATALOGUE, "role", leak)]
    for table in tables:
        leak = None if table["walled"] else "row-level security is not forced"
        found.append(Tried(LAYER, CATALOGUE, table["name"], leak))
    seen = await connection.fetchval(
        "SELECT count(*) FROM pg_stats WHERE schemaname = 'public' AND tablename = ANY($1)",
        [table["name"] for table in tables],
    )
    found.append(Tried(LAYER, CATALOGUE, "pg_stats", f"{seen} columns show samples of values" if seen else None))
    return found


async def _reading(connection: Any, table: Any, attacker: str, victim: Victim) -> Tried:
    query = f'SELECT count(*) FROM "{table["name"]}" WHERE "{table["tenant"]}" <> $1::text::uuid'  # noqa: S608 - the database's own names
    async with _as_tenant(connection, attacker):
        seen = await connection.fetchval(query, attacker)
    return Tried(LAYER, READ, table["name"], f"{seen} rows of other tenants are seen" if seen else None)


async def _without(connection: Any, table: Any) -> Tried:
    """The forgotten setting."""
    seen = await connection.fetchval(f'SELECT count(*) FROM "{table["name"]}"')  # noqa: S608 - the database's own name
    return Tried(LAYER, UNSET, table["name"], f"{seen} rows are seen" if seen else None)


def _writes(table: Any) -> list[str]:
    name, tenant = table["name"], table["tenant"]
    copy = f"SELECT jsonb_populate_record(t, jsonb_build_object('{tenant}', $1::text)) AS r FROM \"{name}\" t LIMIT 1"  # noqa: S608 - the database's own names
    return [
        f'INSERT INTO "{name}" SELECT (moved.r).* FROM ({copy}) moved',  # noqa: S608 - the same
        f'UPDATE "{name}" SET "{tenant}" = $1::text::uuid',  # noqa: S608 - the same
        f'UPDATE "{name}" SET "{tenant}" = "{tenant}" WHERE "{tenant}" = $1::text::uuid',  # noqa: S608 - the same
        f'DELETE FROM "{name}" WHERE "{tenant}" = $1::text::uuid',  # noqa: S608 - the same
    ]


async def _writing(connection: Any, name: str, statement: str, attacker: str, victim: Victim) -> Tried:
    leak = None
    async with _as_tenant(connection, attacker):
        try:
            done = await connection.execute(statement, victim.tenant_id)
            if not done.endswith(" 0"):
                leak = f"{done}: {statement}"
        except asyncpg.IntegrityConstraintViolationError as error:
            leak = f"only a constraint was in the way ({error.constraint_name}): {statement}"
        except asyncpg.PostgresError:
            pass
    return Tried(LAYER, WRITE, name, leak)


async def _refused(connection: Any, attack: str, statement: str) -> Tried:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
        leak: str | None = f"allowed: {statement}"
    except asyncpg.PostgresError:
        leak = None
    finally:
        await transaction.rollback()
    return Tried(LAYER, attack, statement, leak)


async def _control(connection: Any, victim: Victim) -> Tried:
    """The victim itself sees its runs: else nothing was proven."""
    async with _as_tenant(connection, victim.tenant_id):
        seen = await connection.fetchval("SELECT count(*) FROM runs WHERE id::text = ANY($1)", list(victim.runs))
    leak = None if seen == len(victim.runs) else "the other tenant's own rows were not found: nothing was proven"
    return Tried(LAYER, READ, "the other tenant's own", leak)
