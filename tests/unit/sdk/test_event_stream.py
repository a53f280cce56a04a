"""The parser of server-sent events gives the same messages however its bytes are cut."""

from __future__ import annotations

from itertools import pairwise

from agent_runtime.event_stream import EventStreamDecoder, Message
from hypothesis import given
from hypothesis import strategies as st

STREAM = (
    "\ufeffretry: 1500\n\n: heartbeat\n\nid: 1\nevent: run.queued\ndata: {}\n\n"
    "event: delta\r\ndata: a\r\ndata: ü\r\n\r\ndata:  two\rid: 2\r\r"
    "id:3\nevent: nothing\n\nid: 4\ndata\n\ndata: unfinished"
).encode()
MESSAGES = [
    Message("run.queued", "{}", "1"),
    Message("delta", "a\nü", None),
    Message("message", " two", "2"),
    Message("message", "", "4"),
]


def decode(chunks: list[bytes]) -> tuple[list[Message], float | None]:
    decoder = EventStreamDecoder()
    return [message for chunk in chunks for message in decoder.feed(chunk)], decoder.retry


def test_a_whole_stream() -> None:
    assert decode([STREAM]) == (MESSAGES, 1.5)


def test_byte_by_byte() -> None:
    assert decode([STREAM[i : i + 1] for i in range(len(STREAM))]) == (MESSAGES, 1.5)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_cut_anywhere(cuts: list[int]) -> None:
    marks = [0, *sorted(cuts), len(STREAM)]
    assert decode([STREAM[a:b] for a, b in pairwise(marks)]) == (MESSAGES, 1.5)


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    decode([data[:7], data[7:]])


def test_odd_retry_is_ignored() -> None:
    assert decode([b"retry: soon\n\nretry: -1\n\n"]) == ([], None)
