"""`agent-runtime usage`: what model calls used and cost."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated

import typer
from agent_runtime import UsageGroup, UsageReport, UsageSums

from services.cli import inputs
from services.cli.access import client
from services.cli.output import AsJson, console, print_json, print_table, safe
from services.cli.prices import moment

NUMBERS = ("calls", "estimated", "input", "cached", "output", "reasoning", "USD")


def show_usage(
    ctx: typer.Context,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="KEY", help="day, agent, model, user, label:KEY or (role admin) tenant; repeat it."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="A day (UTC) or a time; default: 30 days before --to.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="A day or a time, not included; default: tomorrow.")
    ] = None,
    agent: Annotated[str | None, typer.Option(metavar="AGENT", help="Of this agent's runs.")] = None,
    model: Annotated[str | None, typer.Option(metavar="PROVIDER/MODEL", help="Of this model, or PROVIDER/*.")] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Of this user's runs.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Of runs with this label; repeat it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sum up what model calls used and cost, by day unless --by says otherwise.

    An operator sees the tenant, a user the own runs, an administrator (--role admin) tenants.
    """
    report = client(ctx).usage.get(
        group_by=by or ["day"],
        since=moment(since, "--from"),
        until=moment(until, "--to"),
        agent=agent,
        model=model,
        user=user,
        labels=inputs.labels(label or ()),
    )
    if as_json:
        return print_json(report.as_json())
    show(report)


def show(report: UsageReport) -> None:
    keys = [key.partition(":")[0] for key in report.group_by]
    rows = [(*_names(group, keys), *_numbers(group)) for group in report.items]
    rows.append(("total", *([""] * (len(keys) - 1)), *_numbers(report.total)))
    print_table((*(key.removeprefix("label:") for key in report.group_by), *NUMBERS), rows, "")
    out = console()
    if cost := report.total.estimated.cost_usd:
        out.print(safe(f"{amount(cost)} USD of it are estimated: the provider never said what these calls used."))
    if correction := report.total.correction_usd:
        out.print(safe(f"{amount(correction)} USD of it are corrections of prices."))
    if count := report.total.unpriced_calls:
        out.print(safe(f"{count} calls have no price and count as 0 USD: see `agent-runtime prices`."), style="yellow")


def _names(group: UsageGroup, keys: Sequence[str]) -> list[str]:
    return ["none" if (name := getattr(group, key)) is None else str(name) for key in keys]


def _numbers(sums: UsageSums) -> tuple[str, ...]:
    cost = amount(sums.cost_usd) + (" + unpriced" if sums.unpriced_calls else "")
    tokens = (sums.input_tokens, sums.cached_input_tokens, sums.output_tokens, sums.reasoning_tokens)
    return (f"{sums.calls:,}", f"{sums.estimated.calls:,}", *(f"{count:,}" for count in tokens), cost)


def amount(value: Decimal) -> str:
    """Dollars with as many places as they have, two at least."""
    places = max(2, -int(value.normalize().as_tuple().exponent))
    return f"{value:,.{places}f}"
