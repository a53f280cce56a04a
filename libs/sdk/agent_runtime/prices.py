"""The calls about what models cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, walk
from agent_runtime.messages import get, post, present, text_of
from agent_runtime.steps import Flow, Plan
from agent_runtime.usage_models import Price


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


class Prices(Noun):
    """`client.prices`"""

    list = Items(list_prices)
    history = Items(list_price_history)
    set = Call(set_price)


class AsyncPrices(AsyncNoun):
    """`client.prices`"""

    list = AsyncItems(list_prices)
    history = AsyncItems(list_price_history)
    set = AsyncCall(set_price)
