"""What a person sees: lines that stay, and below them, on a terminal, what is going on right now."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

SHOWN_TEXT = 600  # characters of a text in progress


class Screen:
    """Use as a context manager; without a terminal only the lines that stay are written."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._doing: Callable[[], str] | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._writing: dict[str, str] = {}
        self._live = Live(self, console=console, refresh_per_second=15, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rest()

    def rest(self) -> None:
        """Nothing is going on any more: only lines from here on."""
        self._doing = None
        self._writing.clear()
        if self._live.is_started:
            self._live.stop()

    # -- lines that stay -----------------------------------------------------------------------------------------

    def title(self, text: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{text}", align="left", style="dim")

    def line(self, markup: str, *, cut: bool = False) -> None:
        """A line with the time since the demo began; with `cut` it ends where the terminal does."""
        line = f"[dim]{time.monotonic() - self._began:6.2f} s[/]  {markup}"
        if self._console.is_terminal:
            self._console.print(line, no_wrap=cut, overflow="ellipsis" if cut else None)
        else:
            self._console.print(line, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        self._console.print(renderable)

    # -- what is going on ----------------------------------------------------------------------------------------

    def doing(self, what: str | Callable[[], str]) -> None:
        """One thing that goes on until the next is named; a callable is asked at every refresh."""
        self._doing = what if callable(what) else lambda: what

    def writing(self, title: str, text: str | None) -> None:
        """The text of an answer as far as it has come; None takes it away."""
        if text is None:
            self._writing.pop(title, None)
        else:
            self._writing[title] = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, 100)
        parts: list[RenderableType] = [
            Panel(
                Text(text[-SHOWN_TEXT:], style="white"),
                title=title,
                title_align="left",
                border_style="cyan",
                width=width,
            )
            for title, text in list(self._writing.items())
        ]
        if self._doing:
            self._spinner.update(text=Text.from_markup(f"[cyan]{self._doing()}[/]"))
            parts.append(self._spinner)
        yield Group(*parts)


def quoted(text: str, length: int = 88) -> str:
    """Text of others on one line, safe to print."""
    one_line = " ".join(text.split())
    return escape(one_line if len(one_line) <= length else f"{one_line[: length - 1]}…")
