"""What a trace shows of content: as it is, as hashes, or not at all; and never more than so many bytes."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from libs.domain.texts import clean, dump
from libs.settings.traces import Redaction

REDACTED = "[redacted]"


def clip(text: str, limit: int, size: int | None = None) -> str:
    """The text in at most so many bytes of UTF-8; what is cut ends with a mark that says how long it was."""
    encoded = text.encode()
    size = len(encoded) if size is None else size
    if size <= limit:
        return text
    mark = f" … [cut: {size} bytes in all]"
    kept = encoded[: max(limit - len(mark.encode()), 0)].decode(errors="ignore")
    return (kept + mark).encode()[:limit].decode(errors="ignore")


@dataclass(frozen=True)
class Content:
    """How a tenant's content is shown."""

    redaction: Redaction
    limit: int  # bytes

    @property
    def reads_objects(self) -> bool:
        """Whether a value in the object store has to be read to be shown."""
        return self.redaction == "nothing"

    def text(self, text: str) -> str:
        if self.redaction == "nothing":
            return clip(clean(text)[0], self.limit)
        if self.redaction == "all":
            return REDACTED
        encoded = text.encode("utf-8", "replace")
        return _hash(hashlib.sha256(encoded).hexdigest(), len(encoded))

    def large(self, ref: dict[str, Any], head: bytes, *, is_json: bool) -> str:
        """A value of the object store, of which this is the beginning; of JSON that is a string, its text."""
        if self.redaction == "nothing":
            text = head.decode(errors="ignore")
            text = _text_of_string(text) if is_json and text.startswith('"') else text
            return clip(clean(text)[0], self.limit, max(int(ref["size"]), len(head)))
        return REDACTED if self.redaction == "all" else _hash(str(ref["sha256"]), int(ref["size"]))

    def reason(self, code: str, message: str) -> str:
        """Why something failed; a message may quote content."""
        return clip(f"{code}: {clean(message)[0]}", 1000) if self.redaction == "nothing" and message else code


def _hash(digest: str, size: int) -> str:
    return f"sha256:{digest} ({size} bytes)"


def _text_of_string(text: str) -> str:
    """The text of a string of JSON, which may end anywhere, within an escape too."""
    text = text.removesuffix('"') if not text.endswith('\\"') else text
    for end in range(len(text), len(text) - 12, -1):
        try:
            return str(json.loads(f'{text[:end]}"'))
        except ValueError:
            continue
    return text


class Conversation:
    """What a model was sent, as it is shown: the newest messages that fit. It keeps no more than it may show."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._first: list[str] = []
        self._rest: deque[str] = deque()
        self._size = 0
        self._dropped = 0

    def open(self, *messages: dict[str, Any]) -> None:
        """Instructions and input, which are always shown."""
        self._first = [clip_message(message, self._limit // 2) for message in messages]

    def add(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            text = clip_message(message, self._limit)
            self._rest.append(text)
            self._size += len(text.encode())
        while self._size > self._limit and len(self._rest) > 1:
            self._size -= len(self._rest.popleft().encode())
            self._dropped += 1

    def shown(self) -> str:
        """JSON: a list of messages."""
        whole = [*self._first, *self._rest]
        if not self._dropped and sum(len(text.encode()) + 1 for text in whole) + 1 <= self._limit:
            return f"[{','.join(whole)}]"
        return self._newest()

    def _newest(self) -> str:
        first = [clip_message_text(text, self._limit // 4) for text in self._first]
        room = self._limit - sum(len(text.encode()) + 1 for text in first) - 120
        taken: list[str] = []
        for text in reversed(self._rest):
            if len(text.encode()) + 1 > room:
                break
            taken.insert(0, text)
            room -= len(text.encode()) + 1
        if self._rest and not taken:
            taken = [clip_message_text(self._rest[-1], room)]
        left_out = self._dropped + len(self._rest) - len(taken)
        mark = dump({"role": "system", "content": f"[{left_out} messages are left out of this trace]"})
        return clip(f"[{','.join([*first, *([mark] if left_out else []), *taken])}]", self._limit)


def clip_message(message: dict[str, Any], limit: int) -> str:
    """JSON of a message in at most so many bytes: of one that is longer, as much of its text as there is room for."""
    text = dump(message)
    return text if len(text.encode()) <= limit else _cut(message, text, limit)


def clip_message_text(text: str, limit: int) -> str:
    """The same for JSON of a message."""
    return text if len(text.encode()) <= limit else _cut(json.loads(text), text, limit)


def _cut(message: dict[str, Any], text: str, limit: int) -> str:
    room = max(limit - 60, 40)
    content = str(message.get("content") or "") if not message.get("tool_calls") else text
    while room > 40:
        cut = dump({"role": message["role"], "content": clip(content, room)})
        if len(cut.encode()) <= limit:
            return cut
        room = room * 3 // 4  # what has to be escaped takes more
    return dump({"role": message["role"], "content": "[cut]"})


def assistant(content: str, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A model's answer as a message."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = list(calls)
    return message
