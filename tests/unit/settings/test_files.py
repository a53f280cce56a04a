"""Files for programs that are given variables only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from libs.settings import files


def test_variables_become_files_and_a_private_key_its_owners_alone(tmp_path: Path) -> None:
    key = "-----BEGIN " + "PRIVATE KEY-----"  # in two pieces for whoever looks for keys
    variables = {"FILE_DATABASE_CA": "-----BEGIN-----", "FILE_KEY": key, "FILE_EMPTY": "", "DATABASE_PASSWORD": "word"}
    written = files.write(variables, tmp_path, os.getuid())
    assert [(each.name, each.read_text(), each.stat().st_mode & 0o777) for each in written] == [
        ("database_ca", "-----BEGIN-----\n", 0o444),
        ("key", f"{key}\n", 0o400),
    ]
    assert set(tmp_path.iterdir()) == set(written)


def test_a_second_start_writes_them_anew(tmp_path: Path) -> None:
    files.write({"FILE_A": "old"}, tmp_path, os.getuid())
    files.write({"FILE_A": "new\n"}, tmp_path, os.getuid())
    assert (tmp_path / "a").read_text() == "new\n"


def test_the_command_opens_scratch_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FILE_A", "text")
    scratch = tmp_path / "scratch"
    scratch.mkdir(0o755)
    assert files.main([str(os.getuid()), str(tmp_path), str(scratch)]) == 0
    assert scratch.stat().st_mode & 0o7777 == 0o1777
    assert "text" not in capsys.readouterr().out
    assert files.main(["nobody", str(tmp_path)]) == 2
