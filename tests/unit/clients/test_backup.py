"""A key of an object and the file that keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.clients import backup

PART = st.text(min_size=1, max_size=40).filter(lambda part: "/" not in part)


@given(st.lists(PART, min_size=1, max_size=4))
def test_every_key_comes_back_and_none_leads_out_of_the_directory(parts: list[str]) -> None:
    directory, key = Path("/backup"), "/".join(parts)
    file = backup.file_of(directory, key)
    assert backup.key_of(directory, file) == key
    assert Path(str(file)).resolve().is_relative_to(directory)
    assert not file.name.endswith(backup.UNFINISHED)


@pytest.mark.parametrize("arguments", [[], ["copy", "/tmp"], ["load", "/nowhere/at/all"]])  # noqa: S108 - never opened
def test_it_says_what_it_wants(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert backup.main(arguments) == 2
    assert capsys.readouterr().err
