"""The prices that model calls are reserved and settled at: the table's, seeded from the configured providers."""

from __future__ import annotations

import asyncio
import logging

from libs.database import prices
from libs.database.engine import Database, is_unavailable
from libs.domain.runs import Price
from libs.settings.models import Provider

logger = logging.getLogger(__name__)
REFRESH_SECONDS = 30.0


class PriceBook:
    """What each model costs now; None for a model without a price."""

    def __init__(self, database: Database, providers: dict[str, Provider]) -> None:
        self._database = database
        self._prices: dict[tuple[str, str], Price] = {
            (name, model): configured.price
            for name, provider in providers.items()
            for model, configured in provider.models.items()
            if configured.price is not None
        }

    def of(self, provider: str, model: str) -> Price | None:
        return self._prices.get((provider, model)) or self._prices.get((provider, "*"))

    async def start(self) -> None:
        async with self._database.maintenance() as connection:
            await prices.seed(connection, self._prices)
            self._prices |= await prices.current(connection)

    async def refresh(self) -> None:
        """Read the table again and again, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                async with self._database.maintenance() as connection:
                    self._prices |= await prices.current(connection)
            except Exception as error:
                if not is_unavailable(error):
                    raise
                logger.warning("cannot read prices: the database is away")
