"""What models cost, with history. Rows are only added: a price that was wrong is entered again for the same moment.

In force at a moment is, of the rows valid by then, the one valid from last; of several from one moment the newest. The
model "*" stands for the provider's models that have no row of their own by then.
"""

# ruff: noqa: S608 - what is put into the statements are constants of this module

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement
from libs.domain.runs import Price

_COLUMNS = (
    "p.id, p.provider, p.model, p.input_price, p.cached_input_price, p.output_price, p.valid_from, p.created_at, "
    "p.created_by"
)
# What is in force now, and what comes: everything that a worker needs until it looks again.
_SCHEDULE = Statement(
    """
    SELECT p.provider, p.model, p.input_price, p.cached_input_price, p.output_price,
           extract(epoch FROM p.valid_from)::float8, extract(epoch FROM clock_timestamp())::float8
    FROM model_prices p
    WHERE p.valid_from > clock_timestamp() OR p.id = (
        SELECT n.id FROM model_prices n
        WHERE n.provider = p.provider AND n.model = p.model AND n.valid_from <= clock_timestamp()
        ORDER BY n.valid_from DESC, n.id DESC LIMIT 1)
    ORDER BY p.valid_from, p.id
    """
)
_LOCK = Statement("SELECT pg_advisory_xact_lock(hashtext('model_prices'))")
_KNOWN = Statement("SELECT DISTINCT provider, model FROM model_prices")
_ADD = Statement(
    f"""
    INSERT INTO model_prices AS p (provider, model, input_price, cached_input_price, output_price, valid_from,
                                   created_by)
    VALUES (CAST(:provider AS text), CAST(:model AS text), CAST(:input AS numeric), CAST(:cached_input AS numeric),
            CAST(:output AS numeric), COALESCE(CAST(:valid_from AS timestamptz), clock_timestamp()),
            CAST(:by AS text))
    RETURNING {_COLUMNS}
    """
)
_AT = Statement(
    f"""
    SELECT {_COLUMNS} FROM model_prices p
    WHERE p.provider = CAST(:provider AS text) AND p.model = CAST(:model AS text)
        AND p.valid_from <= COALESCE(CAST(:at AS timestamptz), clock_timestamp())
    ORDER BY p.valid_from DESC, p.id DESC LIMIT 1
    """
)
# One row for each model: what is in force, or, where nothing is yet, what comes first.
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM (
        SELECT DISTINCT ON (provider, model) * FROM model_prices
        WHERE (CAST(:provider AS text) IS NULL OR provider = CAST(:provider AS text))
            AND (CAST(:after_provider AS text) IS NULL
                 OR (provider, model) > (CAST(:after_provider AS text), CAST(:after_model AS text)))
        ORDER BY provider, model, valid_from <= clock_timestamp() DESC,
            CASE WHEN valid_from <= clock_timestamp() THEN valid_from END DESC,
            CASE WHEN valid_from > clock_timestamp() THEN valid_from END, id DESC
    ) AS p ORDER BY p.provider, p.model LIMIT CAST(:limit AS int)
    """
)
_HISTORY = Statement(
    f"""
    SELECT {_COLUMNS} FROM model_prices p
    WHERE (CAST(:provider AS text) IS NULL OR p.provider = CAST(:provider AS text))
        AND (CAST(:model AS text) IS NULL OR p.model = CAST(:model AS text))
        AND (CAST(:before AS uuid) IS NULL OR (p.valid_from, p.id) < (
            SELECT b.valid_from, b.id FROM model_prices b WHERE b.id = CAST(:before AS uuid)))
    ORDER BY p.valid_from DESC, p.id DESC LIMIT CAST(:limit AS int)
    """
)


class PriceRow(NamedTuple):
    """A price as it was entered."""

    id: UUID
    provider: str
    model: str
    input_price: Decimal
    cached_input_price: Decimal
    output_price: Decimal
    valid_from: datetime
    created_at: datetime
    created_by: str

    @property
    def price(self) -> Price:
        return Price(self.input_price, self.cached_input_price, self.output_price)


class Scheduled(NamedTuple):
    """A price from a moment on; times are seconds since the epoch by the database's clock."""

    provider: str
    model: str
    price: Price
    valid_from: float
    now: float


async def schedule(connection: AsyncConnection) -> list[Scheduled]:
    """Prices in force and to come, each after those that it follows."""
    rows = await _SCHEDULE.run(connection)
    return [Scheduled(row[0], row[1], Price(row[2], row[3], row[4]), row[5], row[6]) for row in rows]


async def seed(connection: AsyncConnection, prices: Mapping[tuple[str, str], Price]) -> None:
    """Add the prices of models that have none; a price that somebody entered is left alone."""
    if not prices:
        return
    await _LOCK.run(connection)
    known = {(row[0], row[1]) for row in await _KNOWN.run(connection)}
    for (provider, model), price in prices.items():
        if (provider, model) not in known:
            await add(connection, provider, model, price, None, "configuration")


async def add(
    connection: AsyncConnection, provider: str, model: str, price: Price, valid_from: datetime | None, by: str
) -> PriceRow:
    """Enter a price; without a moment it is valid from now."""
    row = await _ADD.one(
        connection,
        provider=provider,
        model=model,
        input=price.input,
        cached_input=price.cached_input,
        output=price.output,
        valid_from=valid_from,
        by=by,
    )
    return PriceRow._make(row)


async def in_force(connection: AsyncConnection, provider: str, model: str, at: datetime | None) -> PriceRow | None:
    """A model's own price at a moment, by default now."""
    row = await _AT.one(connection, provider=provider, model=model, at=at)
    return PriceRow._make(row) if row else None


async def page(
    connection: AsyncConnection, provider: str | None, after: tuple[str, str] | None, limit: int
) -> list[PriceRow]:
    """What each model costs, by provider and model."""
    after_provider, after_model = after or (None, None)
    rows = await _PAGE.run(
        connection, provider=provider, after_provider=after_provider, after_model=after_model, limit=limit
    )
    return [PriceRow._make(row) for row in rows]


async def history(
    connection: AsyncConnection, provider: str | None, model: str | None, before: UUID | None, limit: int
) -> list[PriceRow]:
    """Every price that was entered: the one valid from last first, of one moment the newest first."""
    rows = await _HISTORY.run(connection, provider=provider, model=model, before=before, limit=limit)
    return [PriceRow._make(row) for row in rows]
