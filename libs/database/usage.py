"""Sums of the ledger: what calls used and cost, by day, agent, model, user, label or tenant.

A call counts on the day (UTC) on which it was opened; open calls and those that were never sent do not count. What a
call cost is its row plus its corrections. Erased runs count by what they left: no run, author or label.
"""

# ruff: noqa: S608 - what is put into the statements are constants of this module

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database.statements import Statement

TENANT_KEYS = ("day", "agent", "model", "user", "label")
PLATFORM_KEYS = ("tenant", "day", "model")
_SUMMED = ("calls", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cost")
_PERIOD = "e.opened_at >= CAST(:since AS timestamptz) AND e.opened_at < CAST(:until AS timestamptz)"
# Each part groups by itself, so that the planner may begin with the runs of one user, or with the calls of one day.
_CALLS = """
    SELECT {keys} e.state = 'estimated' AS estimated, count(*) AS calls,
           count(*) FILTER (WHERE e.input_price IS NULL) AS unpriced, sum(e.input_tokens) AS input_tokens,
           sum(e.cached_input_tokens) AS cached_input_tokens, sum(e.output_tokens) AS output_tokens,
           sum(e.reasoning_tokens) AS reasoning_tokens, sum(e.cost) AS cost, 0::numeric AS correction
    FROM model_calls e {joins} WHERE {where} AND {period} AND e.state IN ('settled', 'estimated')
    GROUP BY {groups} e.state
"""
_CORRECTIONS = """
    SELECT {keys} false, 0, -count(*) FILTER (WHERE e.first), 0, 0, 0, 0, 0, sum(e.amount)
    FROM cost_corrections e {joins} WHERE {where} AND {period} {grouped}
"""
# A day of the erased is in the period when it begins in it.
_ERASED = """
    SELECT {keys} e.estimated, e.calls, e.unpriced_calls, e.input_tokens, e.cached_input_tokens, e.output_tokens,
           e.reasoning_tokens, e.cost, e.correction
    FROM erased_usage e {joins}
    WHERE {where} AND e.day >= (CAST(:since AS timestamptz) AT TIME ZONE 'UTC')
        AND e.day < (CAST(:until AS timestamptz) AT TIME ZONE 'UTC')
"""
_JOIN_RUNS = "JOIN runs r ON r.tenant_id = e.tenant_id AND r.id = e.run_id"
_JOIN_AGENTS = "JOIN agents a ON a.tenant_id = e.tenant_id AND a.id = {0}.agent_id"


class _Key(NamedTuple):
    """What a key is of a call, what calls are grouped by for it, what it is of the erased, and as text."""

    call: str
    group: str
    erased: str
    text: str = "{0}"


_DAY = "(e.opened_at AT TIME ZONE 'UTC')::date"
_LABEL = "r.labels ->> CAST(:label_key AS text)"
_MODEL = "e.provider || '/' || e.model"
_KEYS = {
    "day": _Key(_DAY, _DAY, "e.day", "{0}::text"),
    "tenant": _Key("e.tenant_id", "e.tenant_id", "e.tenant_id", "(SELECT t.slug FROM tenants t WHERE t.id = {0})"),
    "agent": _Key("r.agent_id", "r.agent_id", "e.agent_id", "(SELECT a.slug FROM agents a WHERE a.id = {0})"),
    "model": _Key(_MODEL, "e.provider, e.model", _MODEL),
    "user": _Key("r.created_by", "r.created_by", "NULL::text"),
    "label": _Key(_LABEL, _LABEL, "NULL::text"),
}
_FILTERS = {
    "agent": "a.slug = CAST(:agent AS text)",
    "user": "r.created_by = CAST(:user AS text)",
    "subject": "r.created_by = CAST(:subject AS text)",
    "labels": "r.labels @> CAST(:labels AS jsonb)",
}


class UsageFilter(NamedTuple):
    """Which calls are summed; None does not restrict. `labels` is JSON text that a run's labels must contain.

    `subject` is whose runs are all that the caller sees, `user` whose runs are asked for.
    """

    since: datetime
    until: datetime
    agent: str | None = None
    provider: str | None = None
    model: str | None = None
    user: str | None = None
    subject: str | None = None
    labels: str | None = None
    label_key: str | None = None


class Part(NamedTuple):
    """Sums of calls that are all settled, or all estimated."""

    calls: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Decimal

    def plus(self, other: Part, more: Decimal) -> Part:
        """Both together, and `more` of cost."""
        return Part(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cost + other.cost + more,
        )


class UsageRow(NamedTuple):
    """Sums of one group, which its `keys` name; `place` is where it stands among the groups."""

    keys: tuple[str | None, ...]
    place: list[str]
    settled: Part
    estimated: Part
    unpriced_calls: int
    correction: Decimal


async def sums(
    connection: AsyncConnection,
    tenant_id: UUID | None,
    keys: Sequence[str],
    wanted: UsageFilter,
    after: list[str] | None,
    limit: int,
) -> tuple[UsageRow, list[UsageRow]]:
    """The sums of everything that fits, and by group after a place. Without a tenant: of all, as maintenance."""
    given = {name: value for name, value in wanted._asdict().items() if value is not None}
    statement = _statement(tuple(keys), frozenset(given), tenant_id is None)
    values = {"tenant_id": tenant_id} if tenant_id is not None else {}
    rows = await statement.run(connection, **values, **given, after=after, limit=limit if keys else 0)
    total, *groups = (_row(row, len(keys)) for row in rows)
    return total, groups


def _row(row: Any, keys: int) -> UsageRow:
    values = tuple(row)
    names, place, rest = values[1 : 1 + keys], values[1 + keys], values[2 + keys :]
    width = len(_SUMMED)
    settled, estimated = (Part._make(rest[at : at + width]) for at in (0, width))
    return UsageRow(names, list(place or ()), settled, estimated, int(rest[-2]), rest[-1])


@lru_cache(maxsize=256)
def _statement(keys: tuple[str, ...], given: frozenset[str], platform: bool) -> Statement:
    names = [f"k{number}" for number in range(len(keys))]
    listed = "".join(f"{name}, " for name in names)
    columns = "".join(f"{_KEYS[key].text.format(name)} AS {name}, " for key, name in zip(keys, names, strict=True))
    # Each key as text: what has none stands last, and the order is the same wherever the database is.
    texts = ", ".join(f"CASE WHEN {name} IS NULL THEN '1' ELSE '0' || {name} END" for name in names)
    sums_of_all = [f"{prefix}_{measure}" for prefix in ("s", "e") for measure in _SUMMED] + ["unpriced", "correction"]
    totals = ", ".join(f"COALESCE(sum({name}), 0)" for name in sums_of_all)
    return Statement(
        f"""
        WITH parts AS ({_parts(keys, given, platform)}), folded AS (
            SELECT {listed} {_sides()}, sum(unpriced)::bigint AS unpriced, sum(correction) AS correction
            FROM parts {f"GROUP BY {', '.join(names)}" if names else ""}
        ), named AS MATERIALIZED (
            SELECT {columns} {", ".join(sums_of_all)} FROM folded
        ), placed AS (
            SELECT {listed} ARRAY[{texts}]::text[] COLLATE "C" AS place, {", ".join(sums_of_all)} FROM named
        )
        SELECT * FROM (
            SELECT true AS total, {"NULL::text, " * len(keys)} NULL::text[] AS place, {totals} FROM named
            UNION ALL
            (SELECT false, placed.* FROM placed
             WHERE CAST(:after AS text[]) IS NULL OR place > (CAST(:after AS text[]) COLLATE "C")
             ORDER BY place LIMIT CAST(:limit AS int))
        ) AS answered ORDER BY total DESC, place
        """
    )


def _sides() -> str:
    """The sums of what is settled, and of what is estimated, beside each other."""
    return ", ".join(
        f"COALESCE(sum({measure}) FILTER (WHERE {side}), 0){'' if measure == 'cost' else '::bigint'} "
        f"AS {prefix}_{measure}"
        for prefix, side in (("s", "NOT estimated"), ("e", "estimated"))
        for measure in _SUMMED
    )


def _parts(keys: tuple[str, ...], given: frozenset[str], platform: bool) -> str:
    """Sums by key and by whether they are estimated: of the ledger, of its corrections, and of what was erased."""
    conditions = [] if platform else ["e.tenant_id = CAST(:tenant_id AS uuid)"]
    conditions += [f"e.{name} = CAST(:{name} AS text)" for name in ("provider", "model") if name in given]
    conditions += [_FILTERS[name] for name in _FILTERS if name in given]
    where = " AND ".join(conditions) or "true"
    of_runs = {"agent", "user", "label"} & {*keys} or given & {*_FILTERS}
    joins = _JOIN_RUNS if of_runs else ""
    if "agent" in given:
        joins += " " + _JOIN_AGENTS.format("r")
    groups = ", ".join(_KEYS[key].group for key in keys)
    values = {
        "keys": "".join(f"{_KEYS[key].call} AS k{number}, " for number, key in enumerate(keys)),
        "groups": f"{groups}, " if groups else "",
        "grouped": f"GROUP BY {groups}" if groups else "HAVING count(*) > 0",
        "joins": joins,
        "where": where,
        "period": _PERIOD,
    }
    parts = [_CALLS.format(**values), _CORRECTIONS.format(**values)]
    if not given & {"user", "subject", "labels"}:  # nothing of what was erased is anybody's
        erased = "".join(f"{_KEYS[key].erased}, " for key in keys)
        agents = _JOIN_AGENTS.format("e") if "agent" in given else ""
        parts.append(_ERASED.format(keys=erased, joins=agents, where=where))
    return " UNION ALL ".join(parts)
