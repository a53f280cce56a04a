"""Budgets: a model call that could break a limit of the run is not made."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from libs.domain.errors import Failure
from libs.domain.run_log import RunLog
from libs.domain.runs import Price, RunState, Usage

BYTES_PER_TOKEN = 4  # of estimates
PER_MESSAGE = 16  # tokens a chat template may add to a message
UNLIMITED_OUTPUT = 4096  # what is noted as reserved when nothing limits the answer


class BudgetExceeded(Exception):
    """The next call could break a limit."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failure = Failure("budget_exceeded", message)


@dataclass(frozen=True)
class Reservation:
    """What a call may use at the most. `max_tokens` is to be asked of the provider; None means its own default."""

    input_tokens: int
    max_tokens: int | None

    @property
    def tokens(self) -> int:
        return self.input_tokens + (self.max_tokens if self.max_tokens is not None else UNLIMITED_OUTPUT)


def reserve(state: RunState, price: Price | None, input_tokens: int, max_tokens: int | None) -> Reservation:
    """Fit the next call into what is left of the run's tokens and cost.

    Raises:
        BudgetExceeded: not even one token of an answer fits.
    """
    room = [max_tokens] if max_tokens is not None else []
    if state.limit_tokens is not None:
        room.append(state.limit_tokens - state.tokens - input_tokens)
    if state.limit_cost is not None:
        room.append(_affordable(state, state.limit_cost, price, input_tokens))
    if not room:
        return Reservation(input_tokens, None)
    if min(room) < 1:
        raise BudgetExceeded(
            f"The next model call could need {input_tokens} input tokens and more than is left of the run's limits "
            f"(used: {state.tokens} tokens, {state.cost} USD). Raise limits.tokens or limits.cost_usd."
        )
    return Reservation(input_tokens, min(room))


def _affordable(state: RunState, limit: Decimal, price: Price | None, input_tokens: int) -> int:
    """How many output tokens the rest of the money buys, after the whole input at its full price."""
    if price is None:
        raise BudgetExceeded("limits.cost_usd cannot be kept: the model has no price. Configure one for its provider.")
    left = (limit - state.cost) * 1_000_000 - input_tokens * max(price.input, price.cached_input)
    if price.output == 0:
        return UNLIMITED_OUTPUT if left >= 0 else 0
    return int((left / price.output).to_integral_value(ROUND_FLOOR))


def input_bound(log: RunLog, messages: list[dict[str, Any]], fixed_text: int) -> int:
    """An upper bound of the next call's input tokens.

    A byte-level tokenizer makes at most one token of a byte; what the provider already counted is taken as counted.
    `fixed_text` is the length in bytes of what is sent beside the messages (tools, schema).
    """
    turn = log.turn
    if turn is None or turn.input_tokens == 0:
        return fixed_text + sum(_bound(message) for message in messages)
    return turn.input_tokens + turn.output_tokens + sum(_bound(m) for m in _since_last_answer(messages))


def estimate(messages: list[dict[str, Any]], fixed_text: int, received: int) -> Usage:
    """Usage that nobody told us, by the length of what was sent and of what arrived."""
    sent = fixed_text + sum(_bound(message) for message in messages)
    return Usage(sent // BYTES_PER_TOKEN + 1, 0, received // BYTES_PER_TOKEN, 0, estimated=True)


def _since_last_answer(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for position in range(len(messages) - 1, -1, -1):
        if messages[position]["role"] == "assistant":
            return messages[position:]
    return messages


def _bound(message: dict[str, Any]) -> int:
    text = str(message.get("content") or "")
    calls = message.get("tool_calls") or ()
    arguments = sum(len(c["function"]["arguments"]) + len(c["function"]["name"]) for c in calls)
    return PER_MESSAGE + len(text.encode("utf-8", "surrogatepass")) + arguments
