"""Events of a run as lines that people read, and as the timeline at the end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table

from deploy.demo.checks import Claim, Event
from deploy.demo.screen import quoted

_END = {"run.completed": "green", "run.failed": "red", "run.cancelled": "yellow"}


def worker_name(label: str) -> str:
    """Events name a worker `name/id`; the id changes with every start."""
    return label.split("/")[0]


def told(event: Event) -> str | None:
    """One line about an event, None when it is not worth one."""
    kind, data = event["type"], event["data"]
    if kind == "model.started" and data["attempt"] > 1:
        return f"[bold green]{worker_name(data['worker'])} goes on[/]: turn {data['turn']}, attempt {data['attempt']}"
    if kind == "model.completed":
        return f"[cyan]{worker_name(data['worker'])}[/]  turn {data['turn']}  {_answer(data)}"
    if kind == "model.failed":
        return f"[yellow]turn {data['turn']}, attempt {data['attempt']} is closed[/]: {quoted(data['message'])}"
    if kind == "tool.failed":
        call = f"call {data['index'] + 1} of turn {data['turn']}, attempt {data['attempt']}"
        return f"[yellow]{call} is closed[/]: {quoted(data['message'])}"
    if kind == "tool.completed":
        mark = "[red]✗[/]" if data["is_error"] else "[green]✓[/]"
        result = f"{mark} {quoted(data['name'])}  [dim]{quoted(data['content'], 76)}[/]"
        return f"[cyan]{worker_name(data['worker'])}[/]    {result}"
    if kind == "artifact.created":
        return f"            file {quoted(data['name'])}, {data['size']} bytes, SHA-256 {data['sha256'][:12]}…"
    if kind in _END:
        return f"[bold {_END[kind]}]{kind}[/]"
    return None


def _answer(data: dict[str, Any]) -> str:
    text = f"“{quoted(data['content'], 60)}” " if data["content"] else ""
    calls = ", ".join(call["name"] for call in data["tool_calls"])
    return f"{text}{f'→ {quoted(calls)}' if calls else ''}"


def timeline(log: list[Event]) -> Table:
    """What ran when, on which worker and attempt."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, side in (
        ("from", "right"),
        ("to", "right"),
        ("what", "left"),
        ("attempt", "right"),
        ("worker", "left"),
        ("how it ended", "left"),
    ):
        table.add_column(column, justify="right" if side == "right" else "left")
    began = _time(log[0])
    for event in log:
        if event["type"] not in ("model.started", "tool.started"):
            continue
        data = event["data"]
        end = next((other for other in log if other["seq"] > event["seq"] and _ends(other, event)), None)
        what = f"turn {data['turn']}  model" if "index" not in data else f"turn {data['turn']}    {data['name']}"
        table.add_row(
            f"{_time(event) - began:.2f} s",
            f"{_time(end) - began:.2f} s" if end else "",
            what,
            str(data["attempt"]),
            worker_name(data["worker"]),
            _ending(end),
        )
    return table


def _ends(other: Event, start: Event) -> bool:
    kind = start["type"].partition(".")[0]
    if other["type"] not in (f"{kind}.completed", f"{kind}.failed"):
        return False
    return all(other["data"].get(name) == start["data"].get(name) for name in ("turn", "index", "attempt"))


def _ending(end: Event | None) -> str:
    if end is None:
        return "[yellow]open[/]"
    if end["type"].endswith(".failed"):
        return f"[yellow]{quoted(end['data']['code'])}[/]"
    usage = end["data"].get("usage")
    return f"{usage['input_tokens']} + {usage['output_tokens']} tokens" if usage else "done"


def _time(event: Event) -> float:
    return datetime.fromisoformat(str(event["at"]).replace("Z", "+00:00")).timestamp()


def usage_table(runs: list[tuple[str, dict[str, Any]]]) -> Table:
    """Tokens and cost of runs."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("agent", "input", "of it cached", "output", "of it reasoning", "cost, USD", ""):
        table.add_column(column, justify="left" if column in ("agent", "") else "right")
    for agent, usage in runs:
        counts = [str(usage[f"{name}_tokens"]) for name in ("input", "cached_input", "output", "reasoning")]
        note = "the lost attempt is estimated" if usage["estimated"] else ""
        table.add_row(agent, *counts, usage["cost_usd"], f"[dim]{note}[/]")
    return table


def claim_line(claim: Claim) -> str:
    if claim.holds:
        return f"  [green]✓[/] {claim.text}"
    return f"  [bold red]✗ {claim.text}[/]\n      [red]{quoted(claim.problem, 400)}[/]"
