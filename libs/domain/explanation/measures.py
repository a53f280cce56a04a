"""Times, spans, amounts and names as a sentence holds them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from libs.domain.money import plain

LONGEST_NAME = 80  # characters of a name that a model or a person chose
LONGEST_MESSAGE = 300
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(length: timedelta | float) -> str:
    """`0.4 s`, `12 s`, `4 min 3 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def moment(at: datetime, now: datetime) -> str:
    """A time of today's without its date; in UTC."""
    at = at.astimezone(UTC)
    return at.strftime("%H:%M:%S UTC" if at.date() == now.astimezone(UTC).date() else "%Y-%m-%d %H:%M:%S UTC")


def ago(at: datetime, now: datetime) -> str:
    return f"{moment(at, now)} ({span(now - at)} ago)"


def ahead(at: datetime, now: datetime) -> str:
    """A time to come; one that has just passed is now."""
    return f"{moment(at, now)}, in {span(at - now)}" if at > now else f"{moment(at, now)}, which is now"


def money(amount: Decimal) -> str:
    return f"{plain(amount)} USD"


def number(count: int) -> str:
    return f"{count:,}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 model call`, `3 model calls`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def listed(items: Iterable[str], most: int = 5) -> str:
    """`a`, `a and b`, `a, b and c`; no more than so many by name."""
    found = list(items)
    if len(found) > most:
        found = [*found[: most - 1], f"{len(found) - most + 1} more"]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else ""


def name(text: str) -> str:
    return _short(text, LONGEST_NAME)


def quoted(message: str) -> str:
    """Somebody's words, on one line, not long."""
    return f"“{_short(message, LONGEST_MESSAGE)}”"


def sentence(message: str) -> str:
    """A message of ours within a text: on one line, ended by a full stop."""
    text = _short(message, LONGEST_MESSAGE)
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def status(code: str) -> str:
    """`http_429` as `HTTP 429`; other codes as they are."""
    return f"HTTP {code.removeprefix('http_')}" if code.startswith("http_") else code


def worker(label: str) -> str:
    """`worker-1/0198…`: the name, without the id of its process."""
    return name(label.rpartition("/")[0] or label)


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
