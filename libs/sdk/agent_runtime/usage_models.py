"""What the API answers with about prices and usage, typed."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from pydantic import Field

from agent_runtime.models import Document


class Price(Document):
    """What a model costs from a moment on, USD per million tokens; `model` "*" stands for the provider's others."""

    id: str
    provider: str
    model: str
    input_price: Decimal
    cached_input_price: Decimal
    output_price: Decimal
    valid_from: datetime
    created_at: datetime | None = None
    created_by: str | None = None


class UsagePart(Document):
    """Sums of model calls. Cached tokens are part of the input, reasoning tokens part of the output."""

    calls: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)


class UsageSums(UsagePart):
    """Calls by the provider's own count (`settled`) and those that had to be estimated, together and apart.

    `cost_usd` is with what re-rating corrected, `correction_usd`; calls without a price count as 0 dollars.
    """

    settled: UsagePart = UsagePart()
    estimated: UsagePart = UsagePart()
    correction_usd: Decimal = Decimal(0)
    unpriced_calls: int = 0


class UsageGroup(UsageSums):
    """What is not grouped by is None, and so is an agent, user or label that these calls do not have."""

    tenant: str | None = None
    day: date | None = None
    agent: str | None = None
    model: str | None = None
    user: str | None = None
    label: str | None = None


class UsageReport(Document):
    """Sums of a period: of everything, and of each group in the order of what was grouped by."""

    since: datetime
    until: datetime
    group_by: list[str] = Field(default_factory=list)
    total: UsageSums
    items: list[UsageGroup] = Field(default_factory=list)


class ReRating(Document):
    """Past calls that are priced again: how many were looked at, how many were corrected, by how much in all."""

    id: str
    provider: str
    model: str = "*"
    since: datetime
    until: datetime
    status: str = "working"
    calls: int = 0
    corrected: int = 0
    amount_usd: Decimal = Decimal(0)
    requested_by: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def done(self) -> bool:
        return self.status == "done"
