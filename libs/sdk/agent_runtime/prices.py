"""The calls about what models cost."""

from __future__ import annotations

import math
import time
from datetime import datetime
from decimal import Decimal

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, walk
from agent_runtime.messages import get, post, present, text_of
from agent_runtime.retry import Retry
from agent_runtime.steps import Conversation, Flow, Plan, Wait
from agent_runtime.usage_models import Price, ReRating

PAUSE = 1.0  # seconds between looks


def list_prices(*, provider: str | None = None, page_size: int = 50) -> Flow[Price]:
    """What each model costs now, or will cost first, by provider and model. Raises `Forbidden`."""
    return walk(get("prices", params=[("provider", provider), ("limit", page_size)]), Price)


def list_price_history(*, provider: str | None = None, model: str | None = None, page_size: int = 50) -> Flow[Price]:
    """Every price that was entered: the one valid from last first, of one moment the newest first.

    Of several from one moment the newest counts. Raises `Forbidden`.
    """
    params = [("provider", provider), ("model", model), ("limit", page_size)]
    return walk(get("prices", "history", params=params), Price)


def set_price(
    provider: str,
    model: str,
    *,
    input_price: Decimal | str,
    output_price: Decimal | str,
    cached_input_price: Decimal | str | None = None,
    valid_from: datetime | None = None,
    idempotency_key: str | None = None,
) -> Plan[Price]:
    """Enter a price, USD per million tokens, from now or from `valid_from` on, which may be past or to come.

    `model` "*" stands for the models of the provider that have no price of their own. Raises `Forbidden`,
    `InvalidRequest`.
    """
    body = present(
        provider=provider,
        model=model,
        input_price=format(Decimal(input_price), "f"),
        output_price=format(Decimal(output_price), "f"),
        cached_input_price=None if cached_input_price is None else format(Decimal(cached_input_price), "f"),
        valid_from=None if valid_from is None else text_of(valid_from),
    )
    return ask(post("prices", body=body, key=idempotency_key), Price.received)


def rerate(
    provider: str,
    model: str = "*",
    *,
    since: datetime,
    until: datetime | None = None,
    idempotency_key: str | None = None,
) -> Plan[ReRating]:
    """Price past calls again, at the prices that are known now to have been in force when they were opened.

    `until` is not included; default, and at the most: now. Rows of calls stay as they are, what is missing to the right
    cost is added as correcting rows, and asking again adds none. Raises `Forbidden`, `InvalidRequest`.
    """
    body = {"provider": provider, "model": model, "from": text_of(since)}
    body |= present(to=None if until is None else text_of(until))
    return ask(post("re-ratings", body=body, key=idempotency_key), ReRating.received)


def get_re_rating(re_rating_id: str) -> Plan[ReRating]:
    """How far one has come. Raises `NotFound`."""
    return ask(get("re-ratings", re_rating_id), ReRating.received)


def list_re_ratings(*, page_size: int = 50) -> Flow[ReRating]:
    """Newest first."""
    return walk(get("re-ratings", params=[("limit", page_size)]), ReRating)


def wait_for_re_rating(re_rating_id: str, timeout: float | None = None) -> Plan[ReRating]:
    """Wait until one is done, at most `timeout` seconds; look at `done`. Raises `NotFound`."""

    def converse(retry: Retry) -> Conversation[ReRating]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            found = yield from get_re_rating(re_rating_id).converse(retry)
            if found.done or time.monotonic() >= deadline:
                return found
            yield Wait(min(PAUSE, max(0.0, deadline - time.monotonic())))

    return Plan(converse)


class Prices(Noun):
    """`client.prices`"""

    list = Items(list_prices)
    history = Items(list_price_history)
    set = Call(set_price)
    rerate = Call(rerate)
    re_rating = Call(get_re_rating)
    re_ratings = Items(list_re_ratings)
    wait = Call(wait_for_re_rating)


class AsyncPrices(AsyncNoun):
    """`client.prices`"""

    list = AsyncItems(list_prices)
    history = AsyncItems(list_price_history)
    set = AsyncCall(set_price)
    rerate = AsyncCall(rerate)
    re_rating = AsyncCall(get_re_rating)
    re_ratings = AsyncItems(list_re_ratings)
    wait = AsyncCall(wait_for_re_rating)
