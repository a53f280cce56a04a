"""`agent-runtime runs score` and `runs scores`."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from services.cli.access import client
from services.cli.output import AsJson, console, print_json, print_table, safe
from services.cli.running import RunId

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Kind(StrEnum):
    """What a value is to be taken for."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    CATEGORY = "category"


def score_run(
    ctx: typer.Context,
    run: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What is judged, as `accuracy`.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="A number, true or false, or else a category.")],
    comment: Annotated[str | None, typer.Option("--comment", help="Why.")] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="What VALUE is, where it could be another.")] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="The same key never scores twice.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a run. A negative VALUE stands behind `--`."""
    found = client(ctx).runs.score(run, name, value_of(value, kind), comment=comment, idempotency_key=key)
    if as_json:
        return print_json(found.as_json())
    console().print(f"{safe(found.name)} of run {found.run_id} is {safe(shown(found.value))}.")


def list_scores(
    ctx: typer.Context,
    run: RunId,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the scores of a run, newest first."""
    found = list(islice(client(ctx).runs.scores(run, page_size=min(limit, 200)), limit))
    if as_json:
        return print_json({"items": [score.as_json() for score in found]})
    rows = [(each.name, shown(each.value), each.created_by, each.created_at, each.comment) for each in found]
    print_table(("score", "value", "by", "at", "comment"), rows, "Nobody has scored this run.")


def value_of(text: str, kind: Kind | None) -> bool | float | str:
    """What a person typed, as a score."""
    if kind is Kind.CATEGORY:
        return text
    if kind is not Kind.NUMBER and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind is Kind.BOOLEAN:
        raise typer.BadParameter("a boolean is true or false", param_hint="VALUE")
    if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number if set(text) & set(".eE") else int(text)
    if kind is Kind.NUMBER:
        raise typer.BadParameter("this is no number", param_hint="VALUE")
    return text


def shown(value: bool | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
