"""Prices of models on the wire."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from libs.database.prices import PriceRow
from libs.domain.money import plain
from libs.domain.plans import MODEL_PATTERN
from libs.domain.runs import Price
from services.api.schemas.shared import Answered, KeptMoment, Sent, Text, rfc3339, to_json

MONEY = r"^[0-9]{1,6}(\.[0-9]{1,12})?$"
PROVIDER = f"{MODEL_PATTERN.partition('/')[0]}$"
MODEL = f"^{MODEL_PATTERN.partition('/')[2]}"
Money = Annotated[str, StringConstraints(pattern=MONEY), Field(examples=["0.25"])]
ProviderName = Annotated[str, StringConstraints(pattern=PROVIDER)]
ModelName = Annotated[Text, StringConstraints(pattern=MODEL)]


class PriceCreate(Sent):
    """What a model costs from a moment on, in USD per million tokens."""

    provider: ProviderName
    model: ModelName = Field(description='"*" stands for the models of the provider that have no price of their own')
    input_price: Money
    cached_input_price: Money | None = Field(default=None, description="default: as `input_price`")
    output_price: Money
    valid_from: KeptMoment | None = Field(
        default=None, description="default: now. The past and the future will do; re-rating corrects past calls"
    )

    @property
    def price(self) -> Price:
        cached = self.input_price if self.cached_input_price is None else self.cached_input_price
        return Price(Decimal(self.input_price), Decimal(cached), Decimal(self.output_price))


class PriceRead(Answered):
    """A price as it was entered; of several from the same moment the newest counts."""

    id: str
    provider: str
    model: str
    input_price: str
    cached_input_price: str
    output_price: str
    valid_from: datetime
    created_at: datetime
    created_by: str | None = Field(
        description="for administrators; `configuration`: it was seeded from MODEL_PROVIDERS_FILE"
    )


class PricePage(Answered):
    items: list[PriceRead]
    next_cursor: str | None


def price_fields(row: PriceRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "provider": row.provider,
        "model": row.model,
        "input_price": plain(row.input_price),
        "cached_input_price": plain(row.cached_input_price),
        "output_price": plain(row.output_price),
        "valid_from": rfc3339(row.valid_from),
        "created_at": rfc3339(row.created_at),
        "created_by": row.created_by,
    }


def price_json(row: PriceRow, *, by: bool = True) -> str:
    return to_json(price_fields(row) if by else {**price_fields(row), "created_by": None})
