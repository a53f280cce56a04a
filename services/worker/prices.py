"""The prices that model calls are reserved and settled at: the table's, seeded from the configured providers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import NoReturn

from libs.database import prices
from libs.database.engine import Database
from libs.database.prices import Scheduled
from libs.domain.runs import Price
from libs.settings.models import Provider
from services.worker.rounds import come_round

logger = logging.getLogger(__name__)
REFRESH_SECONDS = 10.0
FREE = Price(Decimal(0), Decimal(0), Decimal(0))


class PriceBook:
    """What each model costs now; None for a model without a price."""

    def __init__(self, database: Database, providers: dict[str, Provider]) -> None:
        self._database = database
        self._configured = configured(providers)
        self._prices: dict[tuple[str, str], Price] = {}
        self._coming: list[Scheduled] = []
        self._ahead = 0.0  # seconds that the database's clock is ahead of ours

    def of(self, provider: str, model: str) -> Price | None:
        if self._coming:
            self._advance(time.time() + self._ahead)
        return self._prices.get((provider, model)) or self._prices.get((provider, "*"))

    async def start(self) -> None:
        """Seed the table and read it; what is configured but not in force is told."""
        async with self._database.maintenance() as connection:
            await prices.seed(connection, self._configured)
        await self._read()
        for (provider, model), price in self._configured.items():
            if self._prices.get((provider, model)) not in (None, price):
                logger.warning(
                    "the price of %s/%s in MODEL_PROVIDERS_FILE is not in force: see `agent-runtime prices history`",
                    provider,
                    model,
                )

    async def refresh(self) -> NoReturn:
        """Read the table again and again, until cancelled."""
        await come_round("prices", REFRESH_SECONDS, self._read)

    async def _read(self) -> None:
        async with self._database.maintenance() as connection:
            self.take(await prices.schedule(connection))

    def take(self, schedule: Iterable[Scheduled]) -> None:
        """Take over what the table says."""
        self._coming = list(schedule)
        if self._coming:
            self._ahead = self._coming[0].now - time.time()
            self._prices = {}
            self._advance(self._coming[0].now)

    def _advance(self, now: float) -> None:
        """Bring into force what has become valid; the schedule is in the order of time."""
        while self._coming and self._coming[0].valid_from <= now:
            first = self._coming.pop(0)
            self._prices[first.provider, first.model] = first.price


def configured(providers: dict[str, Provider]) -> dict[tuple[str, str], Price]:
    """The prices of the configuration; a local provider's models are free where nothing else is said."""
    found = {
        (name, model): each.price
        for name, provider in providers.items()
        for model, each in provider.models.items()
        if each.price is not None
    }
    free = {(name, "*"): FREE for name, provider in providers.items() if provider.local}
    return free | found
