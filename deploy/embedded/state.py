"""The state directory of an embedded stack: its layout, its version, its lock and its secrets."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from deploy.embedded.failures import AlreadyRunning, NotRunning, StateRefused

STATE_VERSION = 1
ROOT_STATE = Path("/var/lib/agent-runtime")


def default_state_directory() -> Path:
    """Where state lives unless `--state-dir` or AGENT_RUNTIME_STATE_DIR says otherwise."""
    if given := os.environ.get("AGENT_RUNTIME_STATE_DIR"):
        return Path(given)
    return ROOT_STATE if os.geteuid() == 0 else Path(platformdirs.user_data_dir("agent-runtime", appauthor=False))


class StateDirectory:
    """Everything a stack keeps between two starts, below one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def exists(self) -> bool:
        return (self.path / "version").is_file()

    def open(self) -> None:
        """Make the directory, or check that an existing one can be used."""
        try:
            self._create()
        except OSError as error:
            raise StateRefused(
                f"the state directory {self.path} cannot be made or written ({error.strerror}); "
                "choose another one with --state-dir"
            ) from error

    def _create(self) -> None:
        # PostgreSQL, started by root, runs as another user and must pass through; it can list nothing here.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        if not self.exists and self.path.is_dir() and any(self.path.iterdir()):
            raise StateRefused(f"{self.path} is not empty and no state directory; choose another one with --state-dir")
        self.path.mkdir(parents=True, exist_ok=True)
        self.check_version()
        self.path.chmod(mode)
        for name in ("secrets", "run", "logs"):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)
        if not self.exists:
            write_private(self.path / "version", f"{STATE_VERSION}\n")

    def check_version(self) -> None:
        """Refuse a directory written by a newer release."""
        if not self.exists:
            return
        text = (self.path / "version").read_text(encoding="utf-8").strip()
        if not text.isdigit():
            raise StateRefused(f"{self.path / 'version'} says {text[:40]!r}, which is no version number")
        if int(text) > STATE_VERSION:
            raise StateRefused(
                f"{self.path} was written by a newer release (state version {text}, this release knows "
                f"{STATE_VERSION}); use that release, or choose another directory with --state-dir"
            )

    def check_usable(self) -> None:
        """Refuse a directory that holds no state, or another user's."""
        if not self.exists:
            raise NotRunning(f"there is no state in {self.path}; start a stack with `agent-runtime up`")
        self.check_version()
        if self.run.exists() and not os.access(self.run, os.R_OK | os.X_OK):
            raise StateRefused(f"the state in {self.path} belongs to another user; name your own with --state-dir")

    def directory(self, name: str) -> Path:
        """A directory of one server."""
        path = self.path / name
        path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
        return path

    def log(self, service: str) -> Path:
        return self.path / "logs" / f"{service}.log"

    @property
    def run(self) -> Path:
        """What holds only while the stack runs."""
        return self.path / "run"

    def secret(self, name: str) -> str:
        """A random secret, made at its first use and kept in a file that only its owner reads."""
        return self.made_once(f"secrets/{name}", lambda: secrets.token_urlsafe(24))

    def made_once(self, name: str, make: Callable[[], str]) -> str:
        """A private file's text; of several that make it at a time one is first, and all get what that one made."""
        path = self.path / name
        if not path.exists():
            draft = _draft_of(path)
            _write_new(draft, make())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        return path.read_text(encoding="utf-8")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process; the lock ends with the process, however it ends."""
        with open(self.path / "lock", "a+", encoding="utf-8") as file:
            if not _locked(file.fileno()):
                file.seek(0)
                raise AlreadyRunning(
                    f"a stack is already running on {self.path} (process {file.read().strip()}); "
                    "see `agent-runtime status`, or start another one with --state-dir"
                )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def holder(self) -> int | None:
        """The process that holds the lock now."""
        path = self.path / "lock"
        if not path.exists():
            return None
        with open(path, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text.isdigit() else None
        return None

    def destroy(self) -> None:
        """Delete everything; refused for a directory that is none of ours or in use."""
        if not self.exists:
            raise StateRefused(f"there is no state in {self.path}")
        with self.lock():
            shutil.rmtree(self.path)


def _locked(file: int) -> bool:
    """Take the lock; a process that only looks whether it is held has it for a moment."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.03)
        else:
            return True
    return False


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole; only its owner can read it."""
    draft = _draft_of(path)
    _write_new(draft, text)
    draft.replace(path)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")


def _write_new(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    write_private(path, json.dumps(value, indent=1))


def read_json(path: Path) -> Any:
    """The file's value, None when there is none or it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
