"""One supervised process: started and waited for, started again with backoff when it dies, stopped."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from deploy.embedded.failures import StartFailed
from deploy.embedded.processes import Child, Flag, Program, launch, warmed
from deploy.embedded.state import StateDirectory

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 15.0
# A process that ran this long is taken for healthy: its next death waits the first backoff again.
HEALTHY_AFTER = 30.0
POLL_SECONDS = 0.03


class Service:
    """A program, and the child that runs it now."""

    def __init__(self, name: str, program: Callable[[], Program], state: StateDirectory, stopping: Flag) -> None:
        """While `stopping` is set nothing is started or waited for."""
        self.name = name
        self.restarts = 0
        self.wanted = False
        self._make_program = program
        self._state = state
        self._stopping = stopping
        self._child: Child | None = None
        self._program: Program | None = None
        self._ready = False
        self._next_start = 0.0
        self._backoff = FIRST_BACKOFF
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child and child.exit_code is None else None

    @property
    def address(self) -> str:
        return self._program.address if self._program else ""

    @property
    def status(self) -> str:
        """running, starting, restarting (waits for its backoff) or stopped."""
        if self.pid is not None:
            return "running" if self._ready else "starting"
        return "restarting" if self.wanted else "stopped"

    def describe(self) -> dict[str, Any]:
        return {"status": self.status, "pid": self.pid, "address": self.address, "restarts": self.restarts}

    def start(self, after: Callable[[], None] | None = None) -> None:
        """Start it and wait until it is ready; with `after` it imports what it needs at once and runs after that."""
        program = self._launch(held=after is not None)
        if after:
            self._hold(after)
        deadline = time.monotonic() + program.start_seconds
        attempts = program.start_attempts
        while not self._probe():
            if self._stopping.is_set:
                raise StartFailed(f"{self.name} was stopped before it was ready")
            if self.pid is None:
                attempts -= 1
                if attempts <= 0:
                    raise self._failure("ended at once")
                time.sleep(0.3)
                self._launch()
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {program.start_seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        self.wanted = True

    def _hold(self, after: Callable[[], None]) -> None:
        try:
            after()
        except BaseException:
            self.stop(0)
            raise
        if self._child:
            self._child.release()

    def _launch(self, *, held: bool = False) -> Program:
        with self._lock:
            self._program = warmed(self._make_program()) if held else self._make_program()
            self._ready = False
            self._child = launch(self._program, self._state.log(self.name), self._state.run)
            return self._program

    def _probe(self) -> bool:
        if not self._ready and self._program and self.pid is not None:
            self._ready = self._program.ready()
        return self._ready

    def tend(self) -> bool:
        """Start it again if it died and its backoff is over; True when something changed."""
        with self._lock:
            if not self.wanted or self._stopping.is_set:
                return False
            if self.pid is not None:
                return not self._ready and self._probe()
            now = time.monotonic()
            if self._next_start == 0.0:
                if self._child and now - self._child.since > HEALTHY_AFTER:
                    self._backoff = FIRST_BACKOFF
                self._next_start = now + self._backoff
                self._backoff = min(self._backoff * 2, LONGEST_BACKOFF)
                return True
            if now < self._next_start:
                return False
            self._next_start = 0.0
            self.restarts += 1
            self._launch()
            return True

    def signal(self, number: signal.Signals) -> None:
        if self._child and self._child.exit_code is None:
            self._child.signal(number)

    def stop(self, seconds: float | None = None) -> None:
        """End it: by its signal, by force when that takes too long."""
        with self._lock:
            self.wanted = False
            if self._child and self._program:
                limit = self._program.stop_seconds if seconds is None else seconds
                self._child.stop(self._program.stop_signal, limit)
                for path in self._program.leaves:
                    with contextlib.suppress(OSError):
                        path.unlink(missing_ok=True)

    def _failure(self, how: str) -> StartFailed:
        code = self._child.exit_code if self._child else None
        self.stop()
        log = self._state.log(self.name)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:] if log.exists() else []
        ending = "" if code is None else f" (exit code {code})"
        return StartFailed(
            f"{self.name} {how}{ending}; its log {log} ends with:\n" + "\n".join(f"  {line}" for line in lines)
        )
