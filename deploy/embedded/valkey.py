"""Valkey: append-only file, a password from a file, nothing evicted."""

from __future__ import annotations

from deploy.embedded.binaries import find_valkey
from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.probes import exchange
from deploy.embedded.processes import Flag, Program
from deploy.embedded.state import StateDirectory, write_private


class Valkey:
    """The Valkey server of a state directory."""

    name = "valkey"

    def __init__(self, state: StateDirectory, ports: Ports) -> None:
        self._state = state
        self._port = ports["valkey"]

    def install(self, stopping: Flag) -> None:
        """Write the configuration: the password is not to be seen among the process's arguments."""
        home = self._state.directory("valkey")
        settings = {
            "bind": LOOPBACK,
            "port": self._port,
            "dir": f'"{home}"',
            "requirepass": self._state.secret("valkey"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "databases": 64,
            "loglevel": "warning",
            "save": '""',
        }
        write_private(home / "valkey.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))

    def program(self) -> Program:
        home = self._state.path / "valkey"
        return Program(
            name=self.name,
            argv=(str(find_valkey()), str(home / "valkey.conf")),
            directory=home,
            ready=self._is_ready,
            address=f"{LOOPBACK}:{self._port}",
        )

    def _is_ready(self) -> bool:
        secret = self._state.secret("valkey")
        return exchange(self._port, f"AUTH {secret}\r\n".encode()).startswith(b"+OK")

    def provision(self) -> None:
        """Nothing to make."""

    def environment(self, database: int = 0) -> dict[str, str]:
        return {
            "REDIS_URL": f"redis://{LOOPBACK}:{self._port}/{database}",
            "REDIS_PASSWORD": self._state.secret("valkey"),
        }
