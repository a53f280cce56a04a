"""Finds values in text however a server wrote them, and takes them out, also where a text comes in pieces.

Text is compared twice: as it is, and in a canonical form, in which escapes of URLs, JSON, HTML and backslashes are
undone and line breaks are left out; both ignore case and the differences between the alphabets of base64.
docs/secrets.md says what is covered and what is not.
"""

from __future__ import annotations

import base64
import html
import re
import string
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import NamedTuple

SHORTEST = 8  # characters; what is shorter is found by chance, and would hide too much
# Each run of backslashes is tried once, as a whole: a server may answer with nothing else.
_ESCAPE = re.compile(
    r"%(?:25)*(?P<percent>[0-9a-f]{2})"
    r"|(?<!\\)\\++(?:(?:u00|x)(?P<hex>[0-9a-f]{2})|(?P<plain>[^\\%&])|(?=[%&]))"
    r"|&(?P<entity>\#0{0,6}\d{1,3}|\#x0{0,6}[0-9a-f]{1,2}|amp|lt|gt|quot|apos);"
    r"|[\r\n\t]+",
    re.IGNORECASE | re.DOTALL,
)
# An escape that may go on in the next piece.
_OPEN = re.compile(r"(?:%(?:25)*[0-9a-f]?|\\+(?:u0{0,2}|x)?[0-9a-f]?|&\#?x?[0-9a-z]{0,8})\Z", re.IGNORECASE)
_SAME = str.maketrans(f"{string.ascii_uppercase}-_ ", f"{string.ascii_lowercase}+/+")


def canonical(text: str) -> str:
    """The form in which texts are compared."""
    return _ESCAPE.sub(_undone, text).translate(_SAME)


def _undone(found: re.Match[str]) -> str:
    """One character, or none."""
    if code := found["percent"] or found["hex"]:
        character = chr(int(code, 16))
    elif plain := found["plain"]:
        character = "\n" if plain in "nrt" else plain
    elif entity := found["entity"]:
        character = html.unescape(f"&{entity};")
    else:
        character = ""
    return "" if character in "\r\n\t" else character


class _Form(NamedTuple):
    """A text made comparable, and where its characters stand in its source: at `places` begin what `sources` says."""

    text: str
    places: list[int]
    sources: list[int]

    def source(self, place: int) -> int:
        at = bisect_right(self.places, place) - 1
        return self.sources[at] + place - self.places[at]


def _as_it_is(source: str) -> _Form:
    return _Form(source.translate(_SAME), [0], [0])


def _canonical(source: str) -> _Form:
    parts: list[str] = []
    places, sources, done, length = [0], [0], 0, 0
    for found in _ESCAPE.finditer(source):
        before, undone = source[done : found.start()], _undone(found)
        parts += [before, undone]
        done, length = found.end(), length + len(before) + len(undone)
        places += [length - len(undone), length]
        sources += [found.start(), done]
    return _Form("".join([*parts, source[done:]]).translate(_SAME), places, sources)


class Redactor:
    """Takes values out of texts: where one stood, its name stands then, as `[secret NAME]`."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._needles = {needle: name for name, value in values.items() for needle in _needles(value)}

    def __bool__(self) -> bool:
        return bool(self._needles)

    def redact(self, text: str, *, cut: bool = False) -> str:
        """The text without the values; with `cut` also without what may be the beginning of one at its end."""
        if not self._needles:
            return text
        text = self._without(text, _as_it_is(text), cut)
        return self._without(text, _canonical(text), cut) if _ESCAPE.search(text) else text

    def held(self, text: str) -> int:
        """How many characters at the end of a text must wait for the next piece."""
        if not self._needles:
            return 0
        found = _OPEN.search(text, max(0, len(text) - 64))
        start = found.start() if found else len(text)
        for form, end in ((_as_it_is(text), len(text)), (_canonical(text[:start]), start)):
            if length := self._beginning(form.text):
                start = min(start, form.source(len(form.text) - length), end)
        return len(text) - start

    def _without(self, text: str, form: _Form, cut: bool) -> str:
        pieces, done = [], 0
        for start, end, name in self._found(form.text, cut):
            pieces += [text[done : form.source(start)], f"[secret {name}]"]
            done = form.source(end) if end < len(form.text) else len(text)
        return "".join([*pieces, text[done:]])

    def _found(self, plain: str, cut: bool) -> list[tuple[int, int, str]]:
        """Where values stand, in order; overlapping ones are one."""
        found = [(start, end, name) for needle, name in self._needles.items() for start, end in places(needle, plain)]
        length = self._beginning(plain) if cut else 0
        if length >= SHORTEST:
            tail = plain[len(plain) - length :]
            name = next(name for needle, name in self._needles.items() if needle.startswith(tail))
            found.append((len(plain) - length, len(plain), name))
        merged: list[tuple[int, int, str]] = []
        for start, end, name in sorted(found):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]), merged[-1][2])
            else:
                merged.append((start, end, name))
        return merged

    def _beginning(self, plain: str) -> int:
        """How many characters at the end may be the beginning of a value."""
        longest = 0
        for needle in self._needles:
            tail = plain[-(len(needle) - 1) :]
            at = tail.find(needle[0])
            while 0 <= at < len(tail) - longest:
                if needle.startswith(tail[at:]):
                    longest = len(tail) - at
                at = tail.find(needle[0], at + 1)
        return longest


class RedactedStream:
    """A text that comes in pieces: each is given out as soon as it surely holds nothing of a value."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._waiting = ""

    def take(self, piece: str) -> str:
        """What may be given out now."""
        text = self._redactor.redact(self._waiting + piece)
        held = self._redactor.held(text)
        self._waiting = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What is left when no further piece comes."""
        text, self._waiting = self._waiting, ""
        return self._redactor.redact(text, cut=True)


def places(needle: str, plain: str) -> Iterator[tuple[int, int]]:
    """Where it stands, also where it overlaps itself; a run of overlaps is one place, found in one go."""
    at, period = plain.find(needle), 0
    while at >= 0:
        period = period or _period(needle)
        end = at + len(needle)
        while period < len(needle) and end < len(plain) and plain[end] == plain[end - period]:
            end += 1
        last = end - (end - at - len(needle)) % period  # where the last whole one of the run ends
        yield at, last
        at = plain.find(needle, last - len(needle) + 1)


def _period(needle: str) -> int:
    """How far apart two places of a text, both of which it stands at, are at the least."""
    return next(shift for shift in range(1, len(needle) + 1) if needle.startswith(needle[shift:]))


def _needles(value: str) -> Iterator[str]:
    """What is looked for: the value, its base64 within any text, its hexadecimal form."""
    raw = value.encode()
    yield value.translate(_SAME)
    yield canonical(value)
    yield raw.hex()
    for shift, skipped in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\x00" * shift + raw).decode()
        yield encoded[skipped : (shift + len(raw)) * 8 // 6].translate(_SAME)  # what only the value decides
