"""How much memory processes really take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil


def proportional_memory(pids: Iterable[int]) -> int:
    """Bytes of these processes and all below them; a page shared by several is counted once in sum.

    Where the system does not tell the share (macOS), what each has for itself alone.
    """
    family: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            family.update({process.pid: process for process in (root, *root.children(recursive=True))})
    return sum(_memory_of(process) for process in family.values())


def _memory_of(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.uss)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
