"""An older release of this repository, from its history, as programs beside today's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.embedded.programs import program_environment
from tests.fixtures.platform import NO_TLS

ROOT = Path(__file__).resolve().parents[3]
NEXT_MIGRATION = "migrations/versions/0008_usage.py"  # the older release is the commit before this came


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def find() -> str | None:
    """The commit; None where the history does not reach so far."""
    added = _git("log", "--diff-filter=A", "--format=%H", "--", NEXT_MIGRATION).split()
    return _git("rev-parse", "--verify", "--quiet", f"{added[-1]}^") or None if added else None


def unpack(commit: str, directory: Path) -> Path:
    archive = directory / "release.tar"
    subprocess.run(["git", "archive", "--output", str(archive), commit], cwd=ROOT, check=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(directory)], check=True)
    archive.unlink()
    return directory


@contextmanager
def program(
    release: Path, module: str, environment: Mapping[str, str], probe: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of that release, until it is ready; it ends in order."""
    given = program_environment(os.environ, environment) | {"PYTHONPATH": f"{release}:{release}/libs/sdk"}
    with open(release / f"{module}.log", "ab") as log:
        process = subprocess.Popen([sys.executable, "-m", module], cwd=release, env=given, stdout=log, stderr=log)
    try:
        _await(process, probe, release / f"{module}.log")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], probe: str, log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            if httpx.get(probe, verify=NO_TLS, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"it did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)
