"""`agent-runtime prices`: what models cost, from when on, and what was ever entered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Annotated

import typer
from agent_runtime import Price, ReRating

from services.cli.access import client
from services.cli.exits import RUN_FAILED
from services.cli.output import AsJson, print_json, print_table

prices = typer.Typer(no_args_is_help=True, help="What models cost (role admin).")

Model = Annotated[str, typer.Argument(metavar="PROVIDER/MODEL", help="As agents name it; PROVIDER/* for its others.")]
Provider = Annotated[str | None, typer.Option(metavar="PROVIDER", help="Of this provider only.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]


def moment(text: str | None, option: str) -> datetime | None:
    """A day or a time in ISO 8601; without a zone it is UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time like 2026-11-01 or 2026-11-01T08:00Z", param_hint=option
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def named(model: str) -> tuple[str, str]:
    """Provider and model."""
    provider, slash, name = model.partition("/")
    if not (provider and slash and name):
        raise typer.BadParameter(f"{model!r} is not PROVIDER/MODEL", param_hint="PROVIDER/MODEL")
    return provider, name


def amount(text: str, option: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite():
        raise typer.BadParameter(f"{text!r} is no amount like 0.25", param_hint=option)
    return found


@prices.command("list")
def list_prices(ctx: typer.Context, provider: Provider = None, limit: Limit = 1000, as_json: AsJson = False) -> None:
    """List what each model costs now, in USD per million tokens."""
    show(islice(client(ctx, "admin").prices.list(provider=provider, page_size=min(limit, 200)), limit), as_json)


@prices.command("history")
def list_history(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Argument(metavar="[PROVIDER/MODEL]", help="Default: all.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List every price that was entered, the one valid from last first; of one moment the first one counts."""
    provider, name = named(model) if model else (None, None)
    api = client(ctx, "admin")
    show(islice(api.prices.history(provider=provider, model=name, page_size=min(limit, 200)), limit), as_json)


@prices.command("set")
def set_price(
    ctx: typer.Context,
    model: Model,
    input_price: Annotated[str, typer.Option("--input", metavar="USD", help="Per million input tokens.")],
    output_price: Annotated[str, typer.Option("--output", metavar="USD", help="Per million output tokens.")],
    cached: Annotated[
        str | None, typer.Option("--cached-input", metavar="USD", help="Per million cached ones; default: as --input.")
    ] = None,
    valid_from: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Default: now; the past and the future will do.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enter a price; workers know it within ten seconds. For past calls see `prices rerate`."""
    provider, name = named(model)
    found = client(ctx, "admin").prices.set(
        provider,
        name,
        input_price=amount(input_price, "--input"),
        output_price=amount(output_price, "--output"),
        cached_input_price=None if cached is None else amount(cached, "--cached-input"),
        valid_from=moment(valid_from, "--from"),
    )
    if as_json:
        return print_json(found.as_json())
    show([found], as_json)


@prices.command("rerate")
def rerate(
    ctx: typer.Context,
    model: Model,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="A day (UTC) or a time.")],
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Not included; default, and at the most: now.")
    ] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until it is done.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Price past calls again, by the prices as they are known now; exits with 1 when it is not done in time.

    Calls keep what they were settled at: corrections are added, and a second time adds none.
    """
    provider, name = named(model)
    begin = moment(since, "--from") or datetime.now(UTC)
    api = client(ctx, "admin")
    found = api.prices.rerate(provider, name, since=begin, until=moment(until, "--to"))
    if wait:
        found = api.prices.wait(found.id, wait)
    if as_json:
        print_json(found.as_json())
    else:
        show_re_ratings([found])
    if wait and not found.done:
        raise typer.Exit(RUN_FAILED)


@prices.command("reratings")
def list_re_ratings(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List what was priced again, newest first."""
    found = list(islice(client(ctx, "admin").prices.re_ratings(page_size=min(limit, 200)), limit))
    if as_json:
        return print_json({"items": [each.as_json() for each in found]})
    show_re_ratings(found)


def show_re_ratings(found: Iterable[ReRating]) -> None:
    columns = ("re-rating", "model", "from", "to", "status", "calls", "corrected", "USD", "by")
    rows = [
        (
            each.id,
            f"{each.provider}/{each.model}",
            each.since,
            each.until,
            each.status,
            each.calls,
            each.corrected,
            each.amount_usd,
            each.requested_by,
        )
        for each in found
    ]
    print_table(columns, rows, "Nothing was priced again.")


def show(found: Iterable[Price], as_json: bool) -> None:
    if as_json:
        return print_json({"items": [price.as_json() for price in found]})
    rows = [
        (
            f"{price.provider}/{price.model}",
            price.input_price,
            price.cached_input_price,
            price.output_price,
            price.valid_from,
            price.created_by,
            price.created_at,
        )
        for price in found
    ]
    print_table(("model", "input", "cached", "output", "valid from", "by", "entered"), rows, "There are no prices.")
