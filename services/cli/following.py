"""The live view of a run: tokens as they come, tools, attempts, and the end with what it cost."""

from __future__ import annotations

from typing import Any

import typer
from agent_runtime import Client, Delta, Event, Run

from services.cli.exits import INTERRUPTED, RUN_FAILED
from services.cli.output import console, cost_text, error_console, print_json, safe, value_text

PREVIEW = 160  # characters of arguments and results


def follow(api: Client, run_id: str, *, after: int = 0, as_json: bool = False) -> int:
    """Show a run until it ends; the exit code says how. JSON lines hold the durable events, nothing else."""
    view = RunView()
    last: Event | None = None
    try:
        for item in api.runs.follow(run_id, after, deltas=not as_json):
            if isinstance(item, Event):
                last = item
            if as_json:
                print_json(item.as_json(), line=True)
            else:
                view.show(item)
    except KeyboardInterrupt:
        view.break_line()
        hint = f"agent-runtime runs events {run_id} --follow --after {last.seq if last else after}"
        error_console().print(f"The run goes on. See the rest with: {hint}", style="dim")
        raise typer.Exit(INTERRUPTED) from None
    run = None if as_json and last is not None else api.runs.get(run_id)
    if run is not None and not as_json:
        show_end(run)
    completed = run.succeeded if run is not None else last is not None and last.type == "run.completed"
    return 0 if completed else RUN_FAILED


def show_end(run: Run) -> None:
    """The last lines: output or error, and the bill."""
    out = console()
    if run.error is not None:
        out.print(f"\n{safe(run.error.code)}: {safe(run.error.message)}", style="red")
    elif run.output is not None:
        typer.echo(f"\n{value_text(run.output)}")
    usage = run.usage
    took = (
        f" · {(run.finished_at - run.created_at).total_seconds():.1f} s" if run.finished_at and run.created_at else ""
    )
    cost = cost_text(usage)
    tokens = f"{usage.input_tokens} + {usage.output_tokens} tokens"
    style = "green" if run.succeeded else "red"
    out.print(f"\n{run.status} · {run.steps} steps · {tokens} · {cost}{took}", style=style)


class RunView:
    """Prints what happens as it happens; remembers only the text of the attempt in progress."""

    def __init__(self) -> None:
        self._out = console()
        self._text = ""

    def show(self, item: Event | Delta) -> None:
        if isinstance(item, Delta):
            self._text += item.text
            typer.echo(safe(item.text), nl=False)
            return
        if item.type == "model.completed":
            self._rest_of(item.data)
        self.break_line()
        if self._void(item):
            self._out.print("  the text above was cut off and counts for nothing", style="yellow")
        self._text = ""
        self._out.print(explain_event(item), style=style_of(item))

    def _rest_of(self, data: dict[str, Any]) -> None:
        """Show the message whole: what no delta has brought, or all of it when they differ."""
        content = data.get("content")
        if not isinstance(content, str) or content == self._text:
            return
        if not content.startswith(self._text):
            self.break_line()
            self._text = ""
        typer.echo(safe(content[len(self._text) :]), nl=False)
        self._text = content

    def _void(self, event: Event) -> bool:
        return bool(self._text) and event.type in {"model.started", "model.failed", "run.cancelled", "run.failed"}

    def break_line(self) -> None:
        if self._text and not self._text.endswith("\n"):
            self._out.print()


def style_of(event: Event) -> str:
    if event.type in {"model.failed", "tool.failed", "output.rejected"} or event.data.get("is_error"):
        return "yellow"
    return {"run.failed": "red", "run.cancelled": "red", "run.completed": "green"}.get(event.type, "dim")


def explain_event(event: Event) -> str:
    """One line about an event."""
    data = event.data
    kind, _, what = event.type.partition(".")
    facts: list[Any] = []
    if kind == "model":
        facts = [f"turn {data.get('turn')}", *_attempt(data), data.get("model"), data.get("code"), data.get("message")]
        facts += [_called(call) for call in data.get("tool_calls") or []]
        facts += [f"{data['cost_usd']} USD" if "cost_usd" in data else None, _took(data)]
    elif kind == "tool":
        facts = [data.get("name"), *_attempt(data), data.get("code"), data.get("message"), _took(data)]
        facts.append(_short(data["content"]) if data.get("content") is not None else None)
    elif kind == "artifact":
        facts = [data.get("name"), data.get("media_type"), f"{data.get('size')} bytes", data.get("id")]
    elif kind == "output":
        facts = [data.get("problem")]
    elif kind == "run":
        facts = [data.get(name) for name in ("agent", "by", "reason", "code", "message")]
    else:
        facts = [_short(data)]
    facts += [f"{pointer.lstrip('/')} of {value.get('size')} bytes" for pointer, value in (event.large or {}).items()]
    words = " · ".join(_short(str(fact), 1000) for fact in facts if fact not in (None, ""))
    return f"{safe(kind)} {safe(what)}" + (f" · {words}" if words else "")


def _attempt(data: dict[str, Any]) -> list[str]:
    attempt, worker = data.get("attempt"), data.get("worker")
    found = [f"on {_worker(str(worker))}"] if worker else []
    return [f"attempt {attempt}", *found] if isinstance(attempt, int) and attempt > 1 else found


def _worker(worker: str) -> str:
    """`worker-1/6d58`: the name, and enough of the process's id to tell a restarted one."""
    name, slash, process = worker.partition("/")
    return f"{name}{slash}{process[:4]}"


def _called(call: Any) -> str:
    return f"calls {call.get('name')}({_short(call.get('arguments', ''))})" if isinstance(call, dict) else ""


def _took(data: dict[str, Any]) -> str | None:
    duration = data.get("duration_ms")
    return f"{duration:.0f} ms" if isinstance(duration, int | float) else None


def _short(value: Any, most: int = PREVIEW) -> str:
    """On one line, and not long."""
    text = " ".join(value_text(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"
