"""Engines and transactions: as a tenant, behind the wall, or as maintenance, which sees ids and states only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

from asyncpg.exceptions import InterfaceError
from pydantic import SecretStr
from sqlalchemy import URL, make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from libs.database.statements import DRIVER
from libs.settings.database import DatabaseSettings, MigrationSettings, tls_context

CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 10
# A process that freezes inside a transaction must not keep its locks for as long as it is frozen.
TRANSACTION_SECONDS = 30  # after which none commits any more
SESSION = {"idle_in_transaction_session_timeout": "10s", "transaction_timeout": f"{TRANSACTION_SECONDS}s"}
MIGRATION_LOCK_TIMEOUT = "3s"
MAINTENANCE_POOL = 4  # connections of a process for what looks across tenants, at the most
PLATFORM = UUID(int=0)  # the tenant of what belongs to no tenant


class NothingCommitted(Exception):
    """PostgreSQL rolled back where a commit was asked for."""


class TenantBusy(TimeoutError):
    """As many transactions of the tenant as one may have here are under way, and none of them ended in time."""


class Shares:
    """How many connections of a process one tenant has at the most, so that what it waits for is not waited for by all.

    A tenant's transactions may wait for each other, for locks that only they want, or take long over many rows.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._known: dict[UUID, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, tenant_id: UUID) -> AsyncIterator[None]:
        """One of the tenant's, as soon as it is free. Raises `TenantBusy`."""
        free, users = self._known.get(tenant_id) or (asyncio.Semaphore(self._each), 0)
        self._known[tenant_id] = free, users + 1
        try:
            await self._wait(free)
            try:
                yield
            finally:
                free.release()
        finally:
            users = self._known[tenant_id][1] - 1
            if users:
                self._known[tenant_id] = free, users
            else:
                del self._known[tenant_id]

    async def _wait(self, free: asyncio.Semaphore) -> None:
        if not free.locked():
            await free.acquire()
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await free.acquire()
        except TimeoutError:
            raise TenantBusy(f"{self._each} transactions of the tenant are under way") from None


class Database:
    """The two ways into PostgreSQL that a program has."""

    def __init__(self, tenants: AsyncEngine, maintenance: AsyncEngine, each: int) -> None:
        self._tenants = tenants
        self._maintenance = maintenance
        self._shares = Shares(each)

    @classmethod
    def open(cls, settings: DatabaseSettings) -> Database:
        tls = tls_context(settings.database_tls, settings.database_ca_file)
        return cls(
            _engine(settings.database_url, settings.database_password, tls, pool=settings.database_pool_size),
            _engine(
                settings.database_maintenance_url,
                settings.database_maintenance_password,
                tls,
                pool=min(MAINTENANCE_POOL, settings.database_pool_size),
            ),
            each=(settings.database_pool_size + 1) // 2,
        )

    @asynccontextmanager
    async def tenant(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
        """A transaction in which this tenant's rows are all there is."""
        opening = f"BEGIN; SELECT set_config('app.tenant_id', '{UUID(str(tenant_id))}', true)"
        async with self._shares.of(tenant_id), _transaction(self._tenants, opening) as connection:
            yield connection

    @asynccontextmanager
    async def single(self) -> AsyncIterator[AsyncConnection]:
        """For functions of the database that enter a tenant by themselves: each call is a transaction of its own."""
        async with self._tenants.connect() as connection:
            driver = await _driver(connection)
            try:
                yield connection
            except BaseException:
                await _to_its_end(_abandon(connection, driver))
                raise

    @asynccontextmanager
    async def maintenance(self) -> AsyncIterator[AsyncConnection]:
        """A transaction across tenants: ids, states and times, no content."""
        async with _transaction(self._maintenance, "BEGIN") as connection:
            yield connection

    async def close(self) -> None:
        await self._tenants.dispose()
        await self._maintenance.dispose()


@asynccontextmanager
async def _transaction(engine: AsyncEngine, opening: str) -> AsyncIterator[AsyncConnection]:
    """BEGIN and the tenant go out in one message, COMMIT in another: two round trips around the work.

    The engine is in autocommit mode, so that SQLAlchemy adds no statements of its own.
    """
    async with engine.connect() as connection:
        driver = await _driver(connection)
        try:
            await driver.execute(opening)
            yield connection
            if await driver.execute("COMMIT") != "COMMIT":
                raise NothingCommitted("a statement of the transaction failed, and its error was passed over")
        except BaseException:
            await _to_its_end(_abandon(connection, driver))
            raise


async def _driver(connection: AsyncConnection) -> Any:
    """asyncpg's own connection, which `Statement` speaks to."""
    driver = connection.info.get(DRIVER)
    if driver is not None and driver.is_closed():  # while it lay in the pool: the server was started anew
        await connection.invalidate()
        driver = None
    if driver is None:
        driver = connection.info[DRIVER] = (await connection.get_raw_connection()).driver_connection
    return driver


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Whoever cancels again meanwhile has to wait: the pool must not get a connection that is still in use."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)


async def _abandon(connection: AsyncConnection, driver: Any) -> None:
    """Roll back, or give up the connection when even that does not work."""
    try:
        await driver.execute("ROLLBACK", timeout=2)
    except (Exception, asyncio.CancelledError):
        await connection.invalidate()


def _engine(url: str, password: SecretStr | None, tls: Any, *, pool: int) -> AsyncEngine:
    return create_async_engine(
        _address(url, password),
        isolation_level="AUTOCOMMIT",
        pool_size=pool,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_SECONDS,
        pool_use_lifo=True,
        pool_reset_on_return=None,
        json_serializer=_dump,
        hide_parameters=True,  # they are content: never in a log or an exception
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": COMMAND_TIMEOUT_SECONDS,
            "ssl": tls,
            "server_settings": SESSION,
        },
    )


def open_migration_engine(settings: MigrationSettings) -> AsyncEngine:
    """The owner's engine, with ordinary transactions; none of its statements waits long for a lock.

    Whoever wants a table after it would wait behind it.
    """
    tls = tls_context(settings.database_tls, settings.database_ca_file)
    address = _address(settings.database_migration_url, settings.database_migration_password)
    session = {"lock_timeout": MIGRATION_LOCK_TIMEOUT}
    return create_async_engine(
        address, connect_args={"timeout": CONNECT_TIMEOUT_SECONDS, "ssl": tls, "server_settings": session}
    )


def _address(url: str, password: SecretStr | None) -> URL:
    address = make_url(url).set(drivername="postgresql+asyncpg")
    return address.set(password=password.get_secret_value()) if password else address


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_AWAY = (OSError, TimeoutError, PoolTimeout, InterfaceError)
# Connection failures, too few resources, an administrator's or a timeout's intervention, a deadlock: later it may work.
_AWAY_STATES = ("08", "53", "57", "40", "25P")


def is_unavailable(error: BaseException) -> bool:
    """Whether an error of a statement means that PostgreSQL is away, not that the statement is wrong."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _AWAY) or str(getattr(seen, "sqlstate", None) or "").startswith(_AWAY_STATES):
            return True
        seen = getattr(seen, "orig", None) or seen.__cause__
    return False
