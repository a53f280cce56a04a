"""Ranges of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.api.ranges import NotWithin, matches, wanted_part

CONTENT = bytes(range(50))


@given(st.integers(0, 60), st.none() | st.integers(0, 60))
def test_a_part_is_what_python_would_cut(start: int, end: int | None) -> None:
    header = f"bytes={start}-{'' if end is None else end}"
    cut = CONTENT[start : None if end is None else end + 1]
    try:
        part = wanted_part(header, len(CONTENT))
    except NotWithin:
        assert start >= len(CONTENT)
        return
    if part is None:
        assert end is not None
        assert end < start
    else:
        assert CONTENT[part.start : part.end + 1] == cut


@given(st.integers(1, 100))
def test_the_last_bytes(length: int) -> None:
    part = wanted_part(f"bytes=-{length}", len(CONTENT))
    assert part is not None
    assert CONTENT[part.start : part.end + 1] == CONTENT[-length:]


@given(st.text(max_size=30), st.integers(0, 10))
def test_anything_else_is_all_of_it(header: str, size: int) -> None:
    try:
        part = wanted_part(header, size)
    except NotWithin:
        return
    assert part is None or 0 <= part.start <= part.end < size


def test_entity_tags() -> None:
    assert matches('W/"a", "b"', '"a"')
    assert matches("*", '"a"')
    assert not matches('"b"', '"a"')
    assert not matches(None, '"a"')
