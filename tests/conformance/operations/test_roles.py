"""Roles and databases are made by an administrator who is no superuser, as that of a managed PostgreSQL is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from deploy.embedded.binaries import find_postgres
from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.postgres import Postgres
from deploy.embedded.processes import Flag
from deploy.embedded.service import Service
from deploy.embedded.state import StateDirectory
from tests.conformance.operations.installation import ROOT

ROLES = {
    "agent_runtime_owner": "DATABASE_MIGRATION_PASSWORD",
    "agent_runtime_app": "DATABASE_PASSWORD",
    "agent_runtime_maintenance": "DATABASE_MAINTENANCE_PASSWORD",
    "temporal": "TEMPORAL_DATABASE_PASSWORD",
    "keycloak": "KEYCLOAK_DATABASE_PASSWORD",
    "langfuse": "LANGFUSE_DATABASE_PASSWORD",
}
ADMINISTRATOR = "administrator"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A cluster without our roles."""
    directory = Path(tempfile.mkdtemp(prefix="agent-runtime-roles-"))
    directory.chmod(0o711)  # PostgreSQL, as another user, enters it
    state, stopping = StateDirectory(directory / "state"), Flag()
    state.open()
    ports = Ports(state.path / "ports.json")
    postgres = Postgres(state, ports)
    postgres.install(stopping)
    service = Service("postgres", postgres.program, state, stopping)
    service.start()
    try:
        superuser = {"PGPASSWORD": state.secret("postgres-superuser"), "PGUSER": "postgres"}
        made = f"CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE CREATEDB PASSWORD '{ADMINISTRATOR}'"
        done = subprocess.run(
            ["psql", "-d", "postgres", "-c", made], env=clients(ports["postgres"]) | superuser, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        yield ports["postgres"]
    finally:
        service.stop(0)
        shutil.rmtree(directory, ignore_errors=True)


def clients(port: int) -> dict[str, str]:
    return {"PATH": f"{find_postgres()}:{os.defpath}", "PGHOST": LOOPBACK, "PGPORT": str(port), "LC_ALL": "C"}


def make(port: int) -> dict[str, str]:
    """The passwords that were given, by role."""
    passwords = {role: f"word-{uuid4().hex}" for role in ROLES}
    own = {"PGUSER": ADMINISTRATOR, "PGPASSWORD": ADMINISTRATOR, "DEPLOYMENT": "production"}
    given = {variable: passwords[role] for role, variable in ROLES.items()}
    script = str(ROOT / "deploy/compose/postgres/roles.sh")
    done = subprocess.run(["bash", script], env=clients(port) | own | given, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert not any(password in done.stdout for password in passwords.values())
    return passwords


async def connect(port: int, role: str, password: str, database: str = "agent_runtime") -> asyncpg.Connection:
    return await asyncpg.connect(
        host=LOOPBACK, port=port, user=role, password=password, database=database, ssl=False, timeout=10
    )


async def test_an_administrator_makes_them_and_sets_their_passwords_again(port: int) -> None:
    first, second = make(port), make(port)
    for role in ("agent_runtime_owner", "agent_runtime_app", "agent_runtime_maintenance"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(port, role, first[role])
        connection = await connect(port, role, second[role])
        (row,) = await connection.fetch("SELECT * FROM pg_roles WHERE rolname = current_user")
        for right in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb"):
            assert not row[right], f"{role} has {right}"
        assert (await connection.fetchval("SHOW transaction_timeout") == "30s") == (role == "agent_runtime_app")
        await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connect(port, "temporal", second["temporal"])
    owner = second["agent_runtime_owner"]
    assert "newest revision" in migrate(port, owner)
    connection = await connect(port, "agent_runtime_owner", owner)
    await connection.execute("UPDATE alembic_version SET version_num = 'later'")
    assert "revision later, of a newer release" in migrate(port, owner), "a rollback is a start of the older release"
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "later"
    await connection.close()


def migrate(port: int, password: str) -> str:
    url = f"postgresql://agent_runtime_owner@{LOOPBACK}:{port}/agent_runtime"
    given = {"DATABASE_MIGRATION_URL": url, "DATABASE_MIGRATION_PASSWORD": password}
    environment = {**os.environ, **given, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-m", "migrations"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
