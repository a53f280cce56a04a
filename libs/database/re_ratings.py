"""Pricing past calls again: what was asked for, how far it has come, and the correcting rows.

A call's row is never changed. Its target is what its tokens cost at the price that was in force, by what is known now,
when it was opened; a correction is what is missing to that, so that repeating everything adds nothing. No statement
looks at more calls than it is told, whosesoever they are: however many there are, it comes further.
"""

# ruff: noqa: S608 - what is put into the statements are constants of this module

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

_COLUMNS = (
    "id, provider, model, since, until, requested_by, created_at, finished_at, at_tenant, looked_to, "
    "calls, corrected, amount"
)
_ADD = Statement(
    f"""
    INSERT INTO re_ratings (provider, model, since, until, requested_by)
    SELECT CAST(:provider AS text), CAST(:model AS text), CAST(:since AS timestamptz),
           LEAST(COALESCE(CAST(:until AS timestamptz), now.at), now.at), CAST(:by AS text)
    FROM (SELECT clock_timestamp() AS at) AS now
    WHERE CAST(:since AS timestamptz) < LEAST(COALESCE(CAST(:until AS timestamptz), now.at), now.at)
    RETURNING {_COLUMNS}
    """
)
_FIND = Statement(f"SELECT {_COLUMNS} FROM re_ratings WHERE id = CAST(:id AS uuid)")
_PAGE = Statement(
    f"""
    SELECT {_COLUMNS} FROM re_ratings WHERE CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)
    ORDER BY id DESC LIMIT CAST(:limit AS int)
    """
)
# Moving the next look is what claims one; whoever dies over it has it taken over when the lease is up.
_CLAIM = Statement(
    f"""
    UPDATE re_ratings SET next_look_at = clock_timestamp() + make_interval(secs => CAST(:lease AS float8))
    WHERE id IN (
        SELECT id FROM re_ratings WHERE finished_at IS NULL AND next_look_at <= clock_timestamp()
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING {_COLUMNS}
    """
)
# One look into the index for each tenant: whether a call is of the provider is seen by walking through all of them.
_NEXT_TENANT = Statement(
    """
    SELECT t.id FROM tenants t CROSS JOIN LATERAL (
        SELECT FROM model_calls c
        WHERE c.tenant_id = t.id AND c.opened_at >= CAST(:since AS timestamptz)
            AND c.opened_at < CAST(:until AS timestamptz)
        ORDER BY c.opened_at LIMIT 1
    ) AS found
    WHERE CAST(:after AS uuid) IS NULL OR t.id > CAST(:after AS uuid)
    ORDER BY t.id LIMIT 1
    """
)
_NOTE = Statement(
    """
    UPDATE re_ratings SET at_tenant = CAST(:tenant AS uuid), looked_to = CAST(:looked_to AS timestamptz),
        calls = calls + CAST(:calls AS bigint), corrected = corrected + CAST(:corrected AS bigint),
        amount = amount + CAST(:amount AS numeric),
        next_look_at = clock_timestamp() + make_interval(secs => CAST(:lease AS float8))
    WHERE id = CAST(:id AS uuid) AND finished_at IS NULL
        AND (at_tenant, looked_to) IS NOT DISTINCT FROM (CAST(:was_tenant AS uuid), CAST(:was_to AS timestamptz))
    RETURNING 1
    """
)
_FINISH = Statement("UPDATE re_ratings SET finished_at = clock_timestamp() WHERE id = CAST(:id AS uuid)")
# Along the index: a plan for few rows would read and sort all that there are, however many more it finds.
_IN_ORDER = Statement("SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)")
# Up to which time the next calls go, of any provider; those that were opened at that very time are among them. Behind a
# wall the index is asked for plain values only: where `start` is reckoned by PostgreSQL, all before it is read as well.
_SLICE = Statement(
    """
    SELECT max(slice.opened_at), count(*) FROM (
        SELECT c.opened_at FROM model_calls c
        WHERE c.tenant_id = CAST(:tenant AS uuid) AND c.opened_at < CAST(:until AS timestamptz)
            AND c.opened_at >= CAST(:start AS timestamptz)
        ORDER BY c.opened_at LIMIT CAST(:limit AS int)
    ) AS slice
    """
)
_BATCH = """
        FROM model_calls c
        WHERE c.tenant_id = CAST(:tenant AS uuid) AND c.opened_at <= CAST(:to AS timestamptz)
            AND c.opened_at >= CAST(:start AS timestamptz) AND c.provider = CAST(:provider AS text)
            AND (CAST(:model AS text) = '*' OR c.model = CAST(:model AS text)) AND c.state IN ('settled', 'estimated')
        ORDER BY c.opened_at, c.run_id, c.turn, c.attempt
        FOR NO KEY UPDATE
"""
# The calls are locked: one that was estimated and is settled meanwhile would be corrected for other tokens than it has.
# First by a statement of its own, whose successor sees what the others did who had locked them: their corrections.
_LOCK = Statement(f"SELECT count(*) FROM (SELECT c.turn {_BATCH}) AS locked")
_CORRECT = Statement(
    f"""
    WITH batch AS MATERIALIZED (
        SELECT c.* {_BATCH}
    ), priced AS (
        SELECT b.*, p.input_price AS in_price, p.cached_input_price AS cached_price, p.output_price AS out_price,
               cost_of(b.input_tokens, b.cached_input_tokens, b.output_tokens, p.input_price, p.cached_input_price,
                       p.output_price) - b.cost - k.amount AS missing,
               k.number, b.input_price IS NULL AND k.number = 0 AS first
        FROM batch b CROSS JOIN LATERAL (
            SELECT p.* FROM model_prices p
            WHERE p.provider = b.provider AND p.model IN (b.model, '*') AND p.valid_from <= b.opened_at
            ORDER BY p.model = b.model DESC, p.valid_from DESC, p.id DESC LIMIT 1
        ) AS p CROSS JOIN LATERAL (
            SELECT COALESCE(sum(k.amount), 0) AS amount, COALESCE(max(k.number), 0) AS number FROM cost_corrections k
            WHERE k.tenant_id = b.tenant_id AND k.run_id = b.run_id AND k.turn = b.turn AND k.attempt = b.attempt
        ) AS k
    ), added AS (
        INSERT INTO cost_corrections (tenant_id, run_id, turn, attempt, number, re_rating_id, provider, model,
                                      opened_at, input_price, cached_input_price, output_price, amount, first)
        SELECT tenant_id, run_id, turn, attempt, number + 1, CAST(:id AS uuid), provider, model, opened_at, in_price,
               cached_price, out_price, missing, first
        FROM priced WHERE missing <> 0 OR first
        ON CONFLICT DO NOTHING RETURNING amount
    ), mine AS (
        SELECT amount FROM added
        UNION ALL
        SELECT k.amount FROM cost_corrections k JOIN batch b
            ON k.tenant_id = b.tenant_id AND k.run_id = b.run_id AND k.turn = b.turn AND k.attempt = b.attempt
        WHERE k.re_rating_id = CAST(:id AS uuid)
    )
    SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM mine), (SELECT COALESCE(sum(amount), 0) FROM mine)
    """
)


MOMENT = timedelta(microseconds=1)  # as PostgreSQL counts


class ReRatingRow(NamedTuple):
    """What is priced again. Of `at_tenant` the calls that were opened up to `looked_to` were looked at."""

    id: UUID
    provider: str
    model: str
    since: datetime
    until: datetime
    requested_by: str
    created_at: datetime
    finished_at: datetime | None
    at_tenant: UUID | None
    looked_to: datetime | None
    calls: int
    corrected: int
    amount: Decimal


class Batch(NamedTuple):
    """What came of the calls of a tenant up to a time, None where there was none; `more` may be after it."""

    calls: int
    corrected: int
    amount: Decimal
    looked_to: datetime | None
    more: bool


async def add(
    connection: AsyncConnection, provider: str, model: str, since: datetime, until: datetime | None, by: str
) -> ReRatingRow | None:
    """Ask for it, until now at the most, as the platform; None when nothing is in that time."""
    row = await _ADD.one(connection, provider=provider, model=model, since=since, until=until, by=by)
    return ReRatingRow._make(row) if row else None


async def find(connection: AsyncConnection, re_rating_id: UUID) -> ReRatingRow | None:
    row = await _FIND.one(connection, id=re_rating_id)
    return ReRatingRow._make(row) if row else None


async def page(connection: AsyncConnection, before: UUID | None, limit: int) -> list[ReRatingRow]:
    """Newest first."""
    return [ReRatingRow._make(row) for row in await _PAGE.run(connection, before=before, limit=limit)]


async def claim(connection: AsyncConnection, lease: float) -> ReRatingRow | None:
    """The next to work at, for so many seconds, as maintenance; each that is noted gives as many again."""
    row = await _CLAIM.one(connection, lease=lease)
    return ReRatingRow._make(row) if row else None


async def next_tenant(connection: AsyncConnection, work: ReRatingRow) -> UUID | None:
    """The next with calls in that time, as maintenance."""
    row = await _NEXT_TENANT.one(connection, after=work.at_tenant, since=work.since, until=work.until)
    return row[0] if row else None


async def correct(connection: AsyncConnection, tenant_id: UUID, work: ReRatingRow, limit: int) -> Batch:
    """Look at so many of the next calls of a tenant and correct those that are meant, as that tenant."""
    looked_to = _looked_to(work, tenant_id)
    start = {"tenant": tenant_id, "start": looked_to + MOMENT if looked_to else work.since}
    await _IN_ORDER.run(connection)
    to, looked = await _SLICE.one(connection, **start, until=work.until, limit=limit)
    if not looked:
        return Batch(0, 0, Decimal(0), None, False)
    batch = {**start, "to": to, "provider": work.provider, "model": work.model}
    await _LOCK.one(connection, **batch)
    calls, corrected, amount = await _CORRECT.one(connection, **batch, id=work.id)
    return Batch(calls, corrected, amount, to, looked == limit)


async def note(
    connection: AsyncConnection, work: ReRatingRow, tenant_id: UUID, done: Batch, lease: float
) -> ReRatingRow | None:
    """How far it has come, as maintenance; None when another worker has taken it over."""
    looked_to = done.looked_to or _looked_to(work, tenant_id)
    values = {"calls": done.calls, "corrected": done.corrected, "amount": done.amount}
    mine = await _NOTE.one(
        connection,
        id=work.id,
        tenant=tenant_id,
        looked_to=looked_to,
        was_tenant=work.at_tenant,
        was_to=work.looked_to,
        lease=lease,
        **values,
    )
    return work._replace(at_tenant=tenant_id, looked_to=looked_to) if mine else None


def _looked_to(work: ReRatingRow, tenant_id: UUID) -> datetime | None:
    return work.looked_to if work.at_tenant == tenant_id else None


async def finish(connection: AsyncConnection, re_rating_id: UUID) -> None:
    """As maintenance."""
    await _FINISH.run(connection, id=re_rating_id)
