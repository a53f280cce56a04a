"""An incremental parser of server-sent events: bytes in, messages out, wherever the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One event: `id` is None when this event carried none, `event` is `message` when it has no name."""

    event: str
    data: str
    id: str | None = None


class EventStreamDecoder:
    """Follows the HTML standard, except that `id` belongs to one event; `retry` is the last one sent, in seconds."""

    def __init__(self) -> None:
        self.retry: float | None = None
        self.chunks = 0  # how often something arrived, comments included
        self._tail = b""
        self._begun = False
        self._clear()

    def _clear(self) -> None:
        self._event = ""
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The events that these bytes complete."""
        self.chunks += 1
        for line in self._lines(chunk):
            if line:
                self._field(line)
                continue
            if self._data:
                yield Message(self._event or "message", "\n".join(self._data), self._id)
            self._clear()

    def _lines(self, chunk: bytes) -> list[str]:
        """Complete lines, ended by LF, CR or CRLF; a CR at the very end may yet be half of a CRLF."""
        text = self._tail + chunk
        if not self._begun:
            if len(text) < 3 and b"\xef\xbb\xbf".startswith(text):
                self._tail = text
                return []
            self._begun, text = True, text.removeprefix(b"\xef\xbb\xbf")
        held = b"\r" if text.endswith(b"\r") else b""
        text = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._tail = rest + held
        return [line.decode("utf-8", "replace") for line in lines]

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value[:9]) / 1000
