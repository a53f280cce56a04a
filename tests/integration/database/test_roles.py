"""What the database's roles are, beside what they may do with each table (test_walls)."""

from __future__ import annotations

import asyncpg
import pytest

from deploy.embedded.stack import Stack


async def test_the_roles_can_do_what_they_must_and_no_more(stack: Stack) -> None:
    settings = stack.environment()
    connection = await asyncpg.connect(settings["DATABASE_URL"], password=settings["DATABASE_PASSWORD"])
    try:
        roles = await connection.fetch(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolcanlogin FROM pg_roles "
            "WHERE rolname LIKE 'agent_runtime_%' ORDER BY rolname"
        )
        assert [tuple(role) for role in roles] == [
            (f"agent_runtime_{name}", False, False, False, False, True) for name in ("app", "maintenance", "owner")
        ]
        assert await connection.fetchval("SHOW transaction_timeout") == "30s"
        assert await connection.fetchval("SHOW fsync") == "on"
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        assert await connection.fetchval(owner) == "agent_runtime_owner"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine (id int)")
    finally:
        await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(settings["DATABASE_URL"], password="guessed")
