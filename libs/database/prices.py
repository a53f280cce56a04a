"""What models cost, with history: the newest row of a model is its price now."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement
from libs.domain.runs import Price

_CURRENT = Statement(
    """
    SELECT DISTINCT ON (provider, model) provider, model, input_price, cached_input_price, output_price
    FROM model_prices WHERE valid_from <= clock_timestamp() ORDER BY provider, model, valid_from DESC
    """
)
_ADD = Statement(
    """
    INSERT INTO model_prices (provider, model, input_price, cached_input_price, output_price)
    VALUES (CAST(:provider AS text), CAST(:model AS text), CAST(:input AS numeric), CAST(:cached_input AS numeric),
            CAST(:output AS numeric))
    ON CONFLICT DO NOTHING
    """
)


async def current(connection: AsyncConnection) -> dict[tuple[str, str], Price]:
    """The price of each (provider, model); the model "*" stands for the provider's others."""
    rows = await _CURRENT.run(connection)
    return {(row[0], row[1]): Price(Decimal(row[2]), Decimal(row[3]), Decimal(row[4])) for row in rows}


async def seed(connection: AsyncConnection, prices: Mapping[tuple[str, str], Price]) -> None:
    """Add the prices of models that have none; a price that somebody edited is left alone."""
    known = await current(connection)
    for (provider, model), price in prices.items():
        if (provider, model) not in known:
            await _ADD.run(
                connection,
                provider=provider,
                model=model,
                input=price.input,
                cached_input=price.cached_input,
                output=price.output,
            )
