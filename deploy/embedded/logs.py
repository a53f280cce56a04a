"""Log files of services: kept small, read from the end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

LARGEST_LOG = 10 * 2**20
KEPT = 3


def rotate(directory: Path, largest: int = LARGEST_LOG) -> None:
    """Copy a large log aside and empty it: its writers append to the same file and need not know."""
    for path in directory.glob("*.log"):
        if path.stat().st_size <= largest:
            continue
        for number in range(KEPT - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file."""
    if not path.exists():
        return []
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - lines * 400, 0))
        return file.read().decode("utf-8", errors="replace").splitlines()[-lines:]


def follow(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Lines as they are written, from now on."""
    positions = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    while True:
        for path in positions:
            for line in _lines_since(path, positions):
                yield path, line
        time.sleep(0.2)


def _lines_since(path: Path, positions: dict[Path, int]) -> list[str]:
    if not path.exists():
        return []
    if path.stat().st_size < positions[path]:
        positions[path] = 0
    with open(path, "rb") as file:
        file.seek(positions[path])
        # An unfinished line is left for the next look.
        complete, _, _ = file.read().rpartition(b"\n")
    if not complete:
        return []
    positions[path] += len(complete) + 1
    return complete.decode("utf-8", errors="replace").split("\n")
