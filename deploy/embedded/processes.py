"""Children of a stack: started, recorded, signalled, ended; also those left behind by a stack that was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import Signals

import psutil

from deploy.embedded.state import read_json, write_json

# A parent-death signal is sent when the *thread* that started the child ends; this one lives as long as the process.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
_LEASH = Path(__file__).with_name("leash.py")


class Flag:
    """Set once, also by a signal handler: the code it interrupts may hold the lock of an Event."""

    def __init__(self) -> None:
        self.since: float | None = None

    @property
    def is_set(self) -> bool:
        return self.since is not None

    def set(self) -> None:
        self.since = self.since or time.monotonic()


@dataclass(frozen=True)
class Account:
    """The user a program runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """What to start, and how to tell that it is ready and how to end it; one that is held waits for its release.

    `leaves` are files outside the state directory that it may leave behind; they are removed when it was stopped.
    """

    name: str
    argv: tuple[str, ...]
    directory: Path
    ready: Callable[[], bool]
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    stop_signal: Signals = signal.SIGTERM
    stop_seconds: float = 3.0
    start_seconds: float = 30.0
    start_attempts: int = 1
    held: bool = False
    leaves: tuple[Path, ...] = ()


class Child:
    """One started process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], record: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.since = time.monotonic()
        self._process = process
        self._record = record

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._record.unlink(missing_ok=True)
        return code

    def release(self) -> None:
        """Let a held program go on."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()
            self._process.stdin.close()

    def signal(self, number: Signals) -> None:
        """Send a signal; one that freezes, thaws or kills reaches the whole family."""
        signal_process(self.pid, number)

    def wait(self, seconds: float, stopping: Flag) -> int | None:
        """Its exit code; None when it still runs after that time, or when all is to stop."""
        deadline = time.monotonic() + seconds
        while self.exit_code is None and time.monotonic() < deadline and not stopping.is_set:
            time.sleep(0.03)
        return self.exit_code

    def stop(self, number: Signals, seconds: float) -> None:
        """Ask it to end, kill it and what it started when it has not after that time."""
        if self.exit_code is None:
            self.signal(number)
            # A frozen process takes no other signal before it goes on.
            self.signal(signal.SIGCONT)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        if self._process.stdin:
            self._process.stdin.close()
        self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait(5)


def warmed(program: Program) -> Program:
    """The same Python program, importing what it needs while it is held."""
    interpreter, module = program.argv[:3], program.argv[3]
    return replace(program, argv=(*interpreter, "deploy.embedded.warm", module), held=True)


def launch(program: Program, log: Path, records: Path) -> Child:
    """Start a program in a session of its own; its output is appended to the log."""
    return _spawner.submit(_launch, program, log, records).result()


def _launch(program: Program, log: Path, records: Path) -> Child:
    account = f"{program.account.uid}:{program.account.gid}" if program.account else "-"
    leash = (sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), str(int(program.stop_signal)), account)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(  # noqa: S603 - the programs are our own list
            [*leash, *program.argv],
            env=dict(program.environment),
            cwd=program.directory,
            stdin=subprocess.PIPE if program.held else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    finally:
        os.close(output)
    record = records / f"{program.name}.{process.pid}.pid"
    write_json(record, {"name": program.name, "pid": process.pid, "started": started_at(process.pid)})
    return Child(program.name, process, record)


def started_at(pid: int) -> str | None:
    """When a process was started, in a form that only ever equals itself; None when there is no such process."""
    try:
        if sys.platform == "linux":
            # Clock ticks since boot: not moved by a clock that is set.
            return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        return str(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return None


def signal_process(pid: int, number: Signals) -> None:
    """Send a signal to a process; one that freezes, thaws or kills goes to everything below it too."""
    try:
        root = psutil.Process(pid)
        family = root.children(recursive=True) if number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL) else []
    except psutil.NoSuchProcess:
        return
    for process in (root, *family):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def is_running(pid: int, started: str) -> bool:
    """Whether the process recorded with this start still runs."""
    try:
        return started_at(pid) == started and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_orphans(records: Path) -> list[str]:
    """End what a stack that was killed left running; give the names of what was found."""
    found: list[tuple[int, str, str]] = []
    for path in sorted(records.glob("*.pid")):
        record = read_json(path)
        if record and is_running(record["pid"], str(record["started"])):
            signal_process(record["pid"], signal.SIGKILL)
            found.append((record["pid"], record["started"], record["name"]))
        path.unlink(missing_ok=True)
    deadline = time.monotonic() + 5
    while any(is_running(pid, started) for pid, started, _ in found) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [name for _, _, name in found]
