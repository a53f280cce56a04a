"""What a model costs now, by a table that is read from time to time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from libs.database.prices import Scheduled
from libs.domain import events
from libs.domain.events import Event
from libs.domain.run_log import RunLog
from libs.domain.runs import Price
from libs.settings.models import Provider
from services.worker.bench import Workbench
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


def opened(**data: object) -> Event:
    whole = {"turn": 1, "attempt": 1, "worker": "w", **data}
    return Event(1, events.MODEL_STARTED, whole, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (opened(price={"input": "0.5", "cached_input": "0.5", "output": "0.5"}), Price(*(Decimal("0.5"),) * 3)),
        (opened(price=None), None),
        (opened(), price(9)),  # written before prices stood in the log
    ],
)
def test_a_lost_call_costs_what_it_was_opened_at(event: Event, expected: Price | None) -> None:
    log = RunLog()
    log.apply(event)
    version = SimpleNamespace(spec=SimpleNamespace(provider="p", model_name="m"))
    view: Any = SimpleNamespace(log=log, version=version)
    bench = object.__new__(Workbench)  # of which only the prices are asked
    object.__setattr__(bench, "prices", book(("m", 9, -9)))
    assert bench.price_opened_at(view, 1) == expected
