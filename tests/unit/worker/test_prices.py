"""What a model costs now, by a table that is read from time to time."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from libs.database.prices import Scheduled
from libs.domain.runs import Price
from libs.settings.models import Provider
from services.worker.prices import FREE, PriceBook, configured

NOW = 1_000_000.0  # of a database whose clock is not ours


def price(amount: int) -> Price:
    return Price(Decimal(amount), Decimal(amount), Decimal(amount))


def book(*rows: tuple[str, int, float]) -> PriceBook:
    nothing: Any = None
    made = PriceBook(nothing, {})
    made.take(Scheduled("p", model, price(amount), NOW + after, NOW) for model, amount, after in rows)
    return made


def test_a_model_without_a_price_of_its_own_has_its_providers() -> None:
    found = book(("*", 1, -9), ("m", 2, -9))
    assert (found.of("p", "m"), found.of("p", "other"), found.of("q", "m")) == (price(2), price(1), None)


def test_a_price_comes_into_force_when_its_time_has_come_by_the_clock_of_the_database() -> None:
    found = book(("m", 1, -9), ("m", 2, 0.05), ("m", 3, 3600))
    assert found.of("p", "m") == price(1)
    time.sleep(0.06)
    assert found.of("p", "m") == price(2)


def test_a_price_that_is_free_is_a_price() -> None:
    assert book(("m", 0, -9)).of("p", "m") == price(0)


def test_what_is_local_is_free_unless_it_has_a_price() -> None:
    priced = {"input_price": "1", "output_price": "2"}
    providers = {
        "house": Provider.model_validate({"base_url": "http://h/v1", "local": True, "models": {"m": None}}),
        "rented": Provider.model_validate({"base_url": "http://r/v1", "local": True, "models": {"*": priced}}),
        "cloud": Provider.model_validate({"base_url": "http://c/v1", "models": {"m": None}}),
    }
    rented = Price(Decimal(1), Decimal(1), Decimal(2))
    assert configured(providers) == {("house", "*"): FREE, ("rented", "*"): rented}
