"""SQL with named parameters, compiled once, for the statements on the path of every request and every step.

They go straight to asyncpg: SQLAlchemy's execution of a statement costs more than PostgreSQL's.
"""

from __future__ import annotations

from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import asyncpg as dialects
from sqlalchemy.ext.asyncio import AsyncConnection

DRIVER = "asyncpg connection"  # where a transaction keeps it in `connection.info`
_DIALECT = dialects.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy does not type its dialects


class Statement:
    """One statement; parameters are `:name`, each with its type by CAST where PostgreSQL cannot tell."""

    def __init__(self, sql: str) -> None:
        compiled = text(sql).compile(dialect=_DIALECT)
        self._sql = str(compiled)
        positions: Any = compiled
        self._names: tuple[str, ...] = tuple(dict.fromkeys(positions.positiontup))

    async def run(self, connection: AsyncConnection, **values: Any) -> list[Any]:
        """The rows, each a tuple. Raises asyncpg's own errors."""
        driver: asyncpg.Connection[asyncpg.Record] = connection.info[DRIVER]
        return await driver.fetch(self._sql, *(values[name] for name in self._names))

    async def one(self, connection: AsyncConnection, **values: Any) -> Any:
        """The only row, or None."""
        rows = await self.run(connection, **values)
        return rows[0] if rows else None
