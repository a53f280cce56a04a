"""The ledger's rows of a run, as its trace tells them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement


class LedgerRow(NamedTuple):
    """One model call: `state` is open, settled, estimated or not_sent; `cost` (USD) with its corrections."""

    turn: int
    attempt: int
    state: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Decimal
    priced: bool


_OF_TURNS = Statement(
    """
    SELECT c.turn, c.attempt, c.state, c.input_tokens, c.cached_input_tokens, c.output_tokens, c.reasoning_tokens,
           c.cost + COALESCE(k.amount, 0), c.input_price IS NOT NULL OR COALESCE(k.priced, false)
    FROM model_calls c LEFT JOIN LATERAL (
        SELECT sum(k.amount) AS amount, bool_or(k.first) AS priced FROM cost_corrections k
        WHERE k.tenant_id = c.tenant_id AND k.run_id = c.run_id AND k.turn = c.turn AND k.attempt = c.attempt
    ) AS k ON true
    WHERE c.run_id = CAST(:run AS uuid) AND c.turn = ANY (CAST(:turns AS int[]))
    """
)


async def of_turns(connection: AsyncConnection, run_id: UUID, turns: Sequence[int]) -> dict[tuple[int, int], LedgerRow]:
    """The calls of these turns, by (turn, attempt); as the tenant."""
    rows = [LedgerRow._make(row) for row in await _OF_TURNS.run(connection, run=run_id, turns=list(turns))]
    return {(row.turn, row.attempt): row for row in rows}
