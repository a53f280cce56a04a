"""SQL with named parameters, compiled once to what asyncpg takes, for the statements on the path of every step."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy does not type its dialects


class Statement:
    """One statement; parameters are `:name`, each with its type by CAST where PostgreSQL cannot tell."""

    def __init__(self, sql: str) -> None:
        compiled = text(sql).compile(dialect=_DIALECT)
        self._sql = str(compiled)
        positions: Any = compiled
        self._names: tuple[str, ...] = tuple(dict.fromkeys(positions.positiontup))

    async def run(self, connection: AsyncConnection, **values: Any) -> list[Any]:
        """The rows, each a tuple."""
        result = await connection.exec_driver_sql(self._sql, tuple(values[name] for name in self._names))
        return list(result) if result.returns_rows else []

    async def one(self, connection: AsyncConnection, **values: Any) -> Any:
        """The only row, or None."""
        rows = await self.run(connection, **values)
        return rows[0] if rows else None
