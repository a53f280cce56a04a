"""What is shown: JSON for programs, tables and plain text for people, errors on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from agent_runtime import Usage
from rich.console import Console
from rich.table import Table
from rich.text import Text

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
JSON_WANTED = "services.cli.json"


def console() -> Console:
    """Where results go; what is not a terminal gets long lines, so that no id is folded."""
    width = None if sys.stdout.isatty() else 400
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=width)


def error_console() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def remember_json(ctx: typer.Context, wanted: bool) -> bool:
    """Note that JSON is wanted, so that an error is printed as JSON too."""
    if wanted:
        ctx.meta[JSON_WANTED] = True
    return wanted


AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON.", callback=remember_json)]


def json_wanted(ctx: Any) -> bool:
    return bool(ctx.meta.get(JSON_WANTED))


def safe(text: object) -> str:
    """Text of a model, a tool or another user, without what would steer the terminal."""
    return _CONTROLS.sub("\ufffd", str(text))


def print_json(document: Any, *, line: bool = False, err: bool = False) -> None:
    """Print JSON in ASCII, which every terminal and pipe can take; one line of it for streams."""
    indent = None if line or not sys.stdout.isatty() else 2
    typer.echo(json.dumps(document, indent=indent), err=err)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows below each other, or a sentence when there are none."""
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console().print(table if table.row_count else Text(empty, style="dim"))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, leaving out what is not there."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in facts:
        if value not in (None, "", {}):
            table.add_row(Text(name, style="dim"), Text(cell(value)))
    console().print(table)


def cell(value: object) -> str:
    """A value as a person reads it; times in UTC to the second."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, dict):
        return safe(", ".join(f"{name}={item}" for name, item in value.items()))
    return "" if value is None else safe(value)


def cost_text(usage: Usage) -> str:
    """What a run cost, and how far that is sure."""
    unpriced = f" + {usage.unpriced_calls} calls without a price" if usage.unpriced_calls else ""
    return f"{usage.cost_usd} USD{' (estimated)' if usage.estimated else ''}{unpriced}"


def value_text(value: Any) -> str:
    """A run's input or output: a string as it is, anything else as JSON."""
    return safe(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))
