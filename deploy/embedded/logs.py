"""Log files of services: kept small, read from the end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
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


def follow(path: Path) -> Iterator[str]:
    """Lines as they are written, from now on."""
    position = path.stat().st_size if path.exists() else 0
    while True:
        if path.exists():
            size = path.stat().st_size
            position = 0 if size < position else position
            with open(path, encoding="utf-8", errors="replace") as file:
                file.seek(position)
                while line := file.readline():
                    yield line.rstrip("\n")
                position = file.tell()
        time.sleep(0.2)
