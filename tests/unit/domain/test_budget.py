"""A call that could break a limit is not made; what is spent is counted to the last decimal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.domain.budget import UNLIMITED_OUTPUT, BudgetExceeded, estimate, input_bound, reserve
from libs.domain.run_log import RunLog
from libs.domain.runs import Price, Usage
from tests.unit.domain.logs import answered, brief, folded, result, state_of

PRICE = Price(Decimal("0.15"), Decimal("0.075"), Decimal("0.6"))
MONEY = st.decimals(0, 1000, places=6, allow_nan=False, allow_infinity=False)
TOKENS = st.integers(0, 2_000_000)


def state(**changed: Any) -> Any:
    return state_of(RunLog(), **changed)


@brief
@given(
    used=TOKENS,
    spent=MONEY,
    limit_tokens=st.none() | TOKENS,
    limit_cost=st.none() | MONEY,
    prices=st.tuples(MONEY, MONEY, MONEY),
    input_tokens=TOKENS,
    max_tokens=st.none() | st.integers(1, 1_000_000),
)
def test_what_is_reserved_never_exceeds_a_limit(
    used: int,
    spent: Decimal,
    limit_tokens: int | None,
    limit_cost: Decimal | None,
    prices: tuple[Decimal, Decimal, Decimal],
    input_tokens: int,
    max_tokens: int | None,
) -> None:
    price = Price(*prices)
    now = state(tokens=used, cost=spent, limit_tokens=limit_tokens, limit_cost=limit_cost)
    refused: str | None = None
    try:
        reserved = reserve(now, price, input_tokens, max_tokens)
    except BudgetExceeded as exceeded:
        refused = exceeded.failure.code
    if refused is not None:
        assert refused == "budget_exceeded"
        assert limit_tokens is not None or limit_cost is not None
        return
    answer = reserved.max_tokens
    if answer is None:
        assert (limit_tokens, limit_cost, max_tokens) == (None, None, None)
        return
    assert answer >= 1
    assert max_tokens is None or answer <= max_tokens
    if limit_tokens is not None:
        assert used + input_tokens + answer <= limit_tokens
    if limit_cost is not None:
        for cached in (0, input_tokens):
            worst = spent + price.of(Usage(input_tokens, cached, answer))
            assert worst <= limit_cost


@pytest.mark.parametrize(
    ("limits", "max_tokens", "given"),
    [
        ({}, None, None),
        ({}, 100, 100),
        ({"limit_tokens": 1000}, None, 400),
        ({"limit_tokens": 1000}, 100, 100),
        ({"limit_tokens": 601}, None, 1),
        ({"limit_cost": Decimal("0.000135")}, None, 100),  # 0.000045 spent, 500 in = 0.000075, 100 out = 0.00006
    ],
)
def test_the_answer_gets_what_is_left(limits: dict[str, Any], max_tokens: int | None, given: int | None) -> None:
    spent = Decimal(0) if "limit_cost" in limits else Decimal("0.000045")
    assert reserve(state(tokens=100, cost=spent, **limits), PRICE, 500, max_tokens).max_tokens == given


def test_a_limit_of_cost_needs_a_price() -> None:
    with pytest.raises(BudgetExceeded, match="no price"):
        reserve(state(limit_cost=Decimal(1)), None, 10, None)
    assert reserve(state(limit_tokens=100), None, 10, None).max_tokens == 90


def test_a_model_that_costs_nothing_can_be_used_without_end() -> None:
    free = Price(Decimal(0), Decimal(0), Decimal(0))
    assert reserve(state(limit_cost=Decimal("0.01")), free, 10**9, None).max_tokens == UNLIMITED_OUTPUT


def test_a_call_that_does_not_fit_says_what_to_raise() -> None:
    with pytest.raises(BudgetExceeded, match=r"limits\.tokens"):
        reserve(state(tokens=99, limit_tokens=100), PRICE, 1, None)


@brief
@given(st.text(max_size=300))
def test_no_tokenizer_makes_more_tokens_than_are_reserved(text: str) -> None:
    """A byte-level tokenizer makes at most one token of a byte, and a template adds some to each message."""
    assert input_bound(RunLog(), [{"role": "user", "content": text}], 7) >= len(text.encode()) + 7


def test_what_the_provider_counted_is_not_estimated_again() -> None:
    log = folded(answered(1, "x" * 50_000, "a"), result(1, 0, "y" * 100))
    bound = input_bound(log, [{"role": "user", "content": "z" * 10_000}, *log.messages], 999)
    assert 15 + 50_000 <= bound <= 15 + 50_000 + 100 + 100  # what was counted, the last answer, its results


def test_an_estimate_says_that_it_is_one() -> None:
    usage = estimate([{"role": "user", "content": "x" * 400}], 0, 80)
    assert usage.estimated
    assert (usage.input_tokens, usage.output_tokens) == (105, 20)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(1_000_000, 0, 0), "0.15"),
        (Usage(1_000_000, 1_000_000, 0), "0.075"),
        (Usage(0, 0, 1_000_000), "0.6"),
        (Usage(123_457, 23_456, 789), "0.01723275"),
        (Usage(1, 0, 1), "7.5E-7"),
        (Usage(10, 20, 0), "0.0000015"),  # a provider that counts more cached than input
    ],
)
def test_prices_are_exact(usage: Usage, cost: str) -> None:
    assert PRICE.of(usage) == Decimal(cost)


def test_many_small_calls_cost_what_one_large_one_does() -> None:
    one = PRICE.of(Usage(7, 3, 11))
    assert (
        sum((PRICE.of(Usage(7, 3, 11)) for _ in range(1000)), Decimal(0))
        == one * 1000
        == PRICE.of(Usage(7000, 3000, 11000))
    )
