"""From an answer to the text that the model reads: so many bytes at the most, unpacked ones too."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore

from libs.domain.redaction import Redactor
from libs.domain.texts import clean

MAX_RETRY_AFTER = 3600.0  # seconds
SEARCHED_AT_ONCE = 16 * 1024  # characters; a megabyte takes more than a tenth of a second
_CHARSETS = re.compile(r"utf-?8|us-ascii|ascii|latin-?1|iso-8859-\d{1,2}|windows-125\d|utf-?16(le|be)?")
_PACKED = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # window bits of zlib


class BrokenAnswer(Exception):
    """The body is not what its headers say."""


async def read_text(response: httpcore.Response, limit: int, redactor: Redactor) -> str:
    """The body as text, at the most `limit` bytes of it, with a note when it was cut or cannot be shown.

    Values of secrets are taken out here already: where the body is cut, one may have been cut too.

    Raises:
        BrokenAnswer: packed in a way that does not unpack.
    """
    packed = header(response, "content-encoding").lower()
    kind = header(response, "content-type").lower()
    if packed not in ("", "identity", *_PACKED):
        return f"[the body is packed as {redactor.redact(packed)[:40]!r} and is not shown]"
    raw = response.aiter_stream()
    body, cut = await _read(_unpacked(raw, _PACKED[packed], limit + 1) if packed in _PACKED else raw, limit)
    text = _decoded(body, kind, cut)
    if text is None:
        kind = redactor.redact(kind).split(";")[0][:80]
        return f"[the body is no text ({kind or 'of unknown type'}) and is not shown]"
    shown = await redacted(redactor, clean(text)[0], cut=cut)
    return shown + (f"\n\n[cut: only the first {limit} bytes are shown]" if cut else "")


async def redacted(redactor: Redactor, text: str, *, cut: bool = False) -> str:
    """The text without the values of secrets; a long one is searched beside the event loop."""
    if not redactor or len(text) <= SEARCHED_AT_ONCE:
        return redactor.redact(text, cut=cut)
    return await asyncio.to_thread(redactor.redact, text, cut=cut)


def header(response: httpcore.Response, name: str) -> str:
    wanted = name.encode("ascii")
    return next((value.decode("latin-1").strip() for key, value in response.headers if key.lower() == wanted), "")


def retry_after(text: str) -> float | None:
    """Seconds from a Retry-After header: a number or a date."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if seconds == seconds else None


async def _read(pieces: AsyncIterator[bytes], limit: int) -> tuple[bytes, bool]:
    """At the most so many bytes, and whether there were more."""
    body = bytearray()
    async for piece in pieces:
        body += piece[: limit + 1 - len(body)]
        if len(body) > limit:
            return bytes(body[:limit]), True
    return bytes(body), False


async def _unpacked(pieces: AsyncIterator[bytes], window: int, limit: int) -> AsyncIterator[bytes]:
    """Unpacks no more than `limit` bytes, however much would come out."""
    unpacker = zlib.decompressobj(window)
    left = limit
    try:
        async for piece in pieces:
            unpacked = unpacker.decompress(piece, left)
            left -= len(unpacked)
            yield unpacked
            if left <= 0:
                return
    except zlib.error as error:
        raise BrokenAnswer("its body does not unpack") from error
    if not unpacker.eof:
        raise BrokenAnswer("its packed body ends early")


def _decoded(body: bytes, kind: str, cut: bool) -> str | None:
    """The text, None when it is none."""
    found = re.search(r"charset=\"?([a-z0-9_-]{1,30})", kind)
    charset = found[1] if found and _CHARSETS.fullmatch(found[1]) else "utf-8"
    if kind.startswith("text/") or "json" in kind or "xml" in kind:
        return body.decode(charset, "replace")
    try:
        return (body[: _whole_characters(body)] if cut else body).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _whole_characters(body: bytes) -> int:
    """Where the last character that may have been cut begins."""
    for back in range(1, min(4, len(body)) + 1):
        if body[-back] & 0b1100_0000 != 0b1000_0000:
            return len(body) - back if body[-back] & 0b1000_0000 else len(body)
    return len(body)
