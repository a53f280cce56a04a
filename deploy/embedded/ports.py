"""Ports on the loopback address: chosen free, remembered in the state directory, chosen again when taken."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from deploy.embedded.failures import StateRefused
from deploy.embedded.state import read_json, write_json

LOOPBACK = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections.
LOWEST, HIGHEST = 15_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


class Ports:
    """The ports of one state directory, by name."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        stored = read_json(file)
        self._ports: dict[str, int] = stored if isinstance(stored, dict) else {}
        self._checked: set[str] = set()
        self._remembers = True

    def __getitem__(self, name: str) -> int:
        """The port of this name; the same for the life of this object."""
        return self.take(name)

    def take(self, name: str, twin: int = 0, fits: Callable[[int], bool] = lambda port: True) -> int:
        """The same for a server that also listens at this distance from its port; each of them has to fit it."""
        with self._lock:
            if name not in self._checked:
                remembered = self._ports.get(name, 0)
                if not remembered or not all(is_free(port) and fits(port) for port in {remembered, remembered + twin}):
                    self._ports[name] = self._choose(twin, fits)
                    self._store()
                self._checked.add(name)
            return self._ports[name]

    def adopt(self) -> None:
        """Take the remembered ports as they are: another process's servers are running; that process remembers."""
        self._checked = set(self._ports)
        self._remembers = False

    def reserve(self, name: str, port: int) -> None:
        """Use this very port, refused when something listens there."""
        if not is_free(port):
            raise StateRefused(f"port {port} on {LOOPBACK} is taken; choose another one with --port")
        with self._lock:
            self._ports[name] = port
            self._checked.add(name)
            self._store()

    def _store(self) -> None:
        if self._remembers:
            write_json(self._file, self._ports)

    def _claim(self, port: int) -> bool:
        """Tell stacks that start at this moment that the port is chosen: nothing listens there yet.

        It is told by the name of a socket that the system forgets with this object or its process.
        """
        if not sys.platform.startswith("linux"):  # such names are Linux's
            return True
        with socket.socket(socket.AF_UNIX) as holder:
            try:
                holder.bind(f"\0agent-runtime-port-{port}")
            except OSError:
                return False
            weakref.finalize(self, os.close, holder.detach())
        return True

    def _choose(self, twin: int, fits: Callable[[int], bool]) -> int:
        for _ in range(200):
            port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
            wanted = {port, port + twin}
            if port in self._ports.values():
                continue
            if all(is_free(each) and self._claim(each) and fits(each) for each in wanted):
                return port
        raise StateRefused(f"no free port was found on {LOOPBACK} between {LOWEST} and {HIGHEST}")
