"""Requests per second: exact over replicas, never exceeded, and without Redis a share each."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from services.api.rates import Rates


class Counter:
    """Redis, as far as it is used; it may be away."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.away = False
        self.asked = 0

    async def add(self, name: str, amount: int, seconds: int) -> int | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            return None
        self.values[name] = self.values.get(name, 0) + amount
        return self.values[name]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.5

    def __call__(self) -> float:
        return self.now


TENANT = uuid4()


async def flood(rates: list[Rates], count: int, limit: int, tenant: UUID = TENANT) -> int:
    """How many of so many requests at once are allowed."""
    taken = await asyncio.gather(*(rates[number % len(rates)].take(tenant, limit) for number in range(count)))
    return sum(allowed for _, allowed in taken)


@pytest.mark.parametrize("limit", [1, 5, 9, 10, 11, 100, 500])
async def test_one_replica_allows_exactly_the_limit(limit: int) -> None:
    counter, clock = Counter(), Clock()
    rates = Rates(counter, 1, clock)
    assert await flood([rates], limit + 50, limit) == limit
    clock.now += 1
    assert await flood([rates], limit + 50, limit) == limit
    assert await flood([rates], 3, 5, uuid4()) == 3


@pytest.mark.parametrize("limit", [1, 7, 100, 500])
async def test_two_replicas_never_allow_more_and_hardly_less(limit: int) -> None:
    counter, clock = Counter(), Clock()
    both = [Rates(counter, 2, clock), Rates(counter, 2, clock)]
    allowed = await flood(both, 3 * limit, limit)
    assert limit * 0.9 <= allowed <= limit


async def test_most_requests_ask_nobody() -> None:
    counter = Counter()
    assert await flood([Rates(counter, 1, Clock())], 400, 500) == 400
    assert counter.asked < 40


async def test_what_remains_is_told() -> None:
    rates = Rates(Counter(), 1, Clock())
    told = [await rates.take(TENANT, 3) for _ in range(5)]
    assert [(allowance.remaining, allowed) for allowance, allowed in told] == [
        (2, True), (1, True), (0, True), (0, False), (0, False),
    ]  # fmt: skip
    names = [name for name, _ in told[0][0].headers()]
    assert names == [b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset"]


async def test_without_redis_each_has_its_share_and_one_call_a_second_at_most() -> None:
    counter, clock = Counter(), Clock()
    counter.away = True
    both = [Rates(counter, 2, clock), Rates(counter, 2, clock)]
    assert await flood(both, 100, 10) == 10
    assert counter.asked == 2
    assert await flood([Rates(counter, 4, clock)], 100, 2) == 1  # never nothing
    clock.now += 1
    counter.away = False
    assert await flood(both, 100, 10) == 10
