"""Looks whether this machine can run a stack, and says what to do where it cannot."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from deploy.embedded.binaries import find_postgres, find_temporal, find_valkey, find_weed
from deploy.embedded.control import look
from deploy.embedded.failures import StackFailure
from deploy.embedded.ports import LOOPBACK, is_free
from deploy.embedded.postgres import check_reachable
from deploy.embedded.state import StateDirectory
from deploy.local_model import ModelNotFound, find_weights

LEAST_DISK, LEAST_MEMORY = 2 * 2**30, 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def examine(state_dir: Path, port: int) -> list[dict[str, Any]]:
    """Every finding, in the order in which one would look."""
    return [asdict(finding) for finding in _findings(StateDirectory(state_dir), port)]


def _findings(state: StateDirectory, port: int) -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding("python", sys.version_info >= (3, 11), f"{version}; 3.11 or later is needed")
    yield _platform()
    for name, find, arguments in (
        ("postgres", lambda: find_postgres() / "postgres", ("--version",)),
        ("valkey", find_valkey, ("--version",)),
        ("object store", find_weed, ("version",)),
        ("temporal", find_temporal, ("--version",)),
    ):
        yield _try(name, partial(_version_of, find, arguments))
    yield _try("local model", lambda: str(find_weights()))
    yield _try("state directory", lambda: _state(state))
    yield _room(state)
    yield from _running(state, port)


def _platform() -> Finding:
    system, machine = platform.system(), platform.machine()
    libc = platform.libc_ver()[0]
    known = (system, machine) in {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
    fits = known and (system != "Linux" or libc == "glibc")
    needed = "Linux with glibc on x86-64 or arm64, or macOS on arm64, is needed"
    return Finding("platform", fits, f"{system} {machine} {libc}".strip() + ("" if fits else f"; {needed}"))


def _version_of(find: Callable[[], Path], arguments: tuple[str, ...]) -> str:
    program = find()
    answer = subprocess.run(  # noqa: S603 - a program that the stack would run itself
        [program, *arguments], capture_output=True, text=True, timeout=10, check=False
    )
    first = (answer.stdout or answer.stderr).strip().splitlines()
    if answer.returncode != 0:
        raise StackFailure(f"{program} cannot be run: {first[0] if first else f'exit code {answer.returncode}'}")
    return f"{first[0][:60] if first else 'runs'} ({program})"


def _state(state: StateDirectory) -> str:
    state.check_version()
    place = next(path for path in (state.path, *state.path.parents) if path.exists())
    if not os.access(place, os.W_OK):
        raise StackFailure(f"{place} cannot be written; choose another directory with --state-dir")
    if os.geteuid() == 0:
        check_reachable(state.path)
    return str(state.path)


def _room(state: StateDirectory) -> Finding:
    place = next(path for path in (state.path, *state.path.parents) if path.exists())
    disk, memory = shutil.disk_usage(place).free, psutil.virtual_memory().available
    enough = disk >= LEAST_DISK and memory >= LEAST_MEMORY
    return Finding("room", enough, f"{disk >> 30} GiB of disk (2 needed), {memory >> 20} MiB of memory (1024 needed)")


def _running(state: StateDirectory, port: int) -> Iterator[Finding]:
    if not state.exists or state.holder() is None:
        free = is_free(port)
        advice = "" if free else "; choose another one with --port"
        yield Finding("port", free, f"{LOOPBACK}:{port} is {'free' if free else 'taken'}{advice}")
        return
    seen = look(state)
    for name, service in seen.get("services", {}).items():
        fine = service["status"] in ("running", "outside")
        yield Finding(name, fine, f"{service['status']}, {service['restarts']} restarts")
    if ready := seen.get("ready"):
        down = [name for name, each in ready.get("dependencies", {}).items() if each["status"] != "ok"]
        yield Finding(
            "readyz", ready["status"] in ("ok", "ready") and not down, ", ".join(down) or "every dependency is up"
        )


def _try(name: str, look_at: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look_at())
    except (StackFailure, ModelNotFound, OSError, subprocess.TimeoutExpired) as problem:
        return Finding(name, False, str(problem))
