"""SeaweedFS, all of it in one process, for its S3 interface."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.embedded.binaries import find_weed
from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.probes import http_request
from deploy.embedded.processes import Flag, Program
from deploy.embedded.state import StateDirectory, write_private

BUCKET = "agent-runtime"
# Longer paths of sockets are refused by the system.
LONGEST_SOCKET_PATH = 100
# Where its parts reach each other, whatever TMPDIR says (weed/command/mini.go of SeaweedFS 4.48).
SOCKETS = Path("/tmp")  # noqa: S108
PARTS = ("s3", "master", "volume", "filer")
ADMIN_DISTANCE = 10_000


class ObjectStore:
    """The SeaweedFS server of a state directory."""

    name = "object-store"

    def __init__(self, state: StateDirectory, ports: Ports) -> None:
        self._state = state
        s3 = ports.take("object-store-s3", fits=lambda port: _vacant(*self._sockets(port).values()))
        # Each that is left out would be the same for two stacks.
        self._ports = {"s3.port": s3} | {f"{part}.port": ports[f"object-store-{part}"] for part in PARTS[1:]}
        calls = {part: ports.take(f"object-store-{part}.grpc", fits=_fits(part)) for part in PARTS}
        self._ports |= {f"{part}.port.grpc": port for part, port in calls.items()}
        # The admin part listens even when it is off, and other parts look for it at this distance whatever
        # `admin.port.grpc` says.
        self._ports["admin.port"] = ports.take("object-store-admin", twin=ADMIN_DISTANCE, fits=_fits("admin"))
        calls["admin"] = self._ports["admin.port"] + ADMIN_DISTANCE
        own = (_call_socket(part, port) for part, port in calls.items())
        self._leaves = (*own, *self._sockets(s3).values())

    @property
    def _home(self) -> Path:
        return self._state.path / "object-store"

    def install(self, stopping: Flag) -> None:
        self._state.directory("object-store")
        self._state.directory("object-store/data")
        write_private(self._home / "s3.json", json.dumps({"identities": [self._identity()]}))
        options = {
            "ip": LOOPBACK,
            "ip.bind": LOOPBACK,
            "dir": self._home / "data",
            "bucket": BUCKET,
            "s3.config": self._home / "s3.json",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            **{f"{part}.localSocket": path for part, path in self._sockets(self._ports["s3.port"]).items()},
            "admin.ui": "false",
            "webdav": "false",
            "master.telemetry": "false",
            # Else every page in a browser on this machine could read and write files.
            "filer.allowedOrigins": f"http://{LOOPBACK}",
            "s3.allowedOrigins": f"http://{LOOPBACK}",
            "volume.preStopSeconds": 0,
            **self._ports,
        }
        write_private(self._home / "options", "".join(f"{name}={value}\n" for name, value in options.items()))

    def _identity(self) -> dict[str, object]:
        keys = {"accessKey": self._state.secret("s3-access-key"), "secretKey": self._state.secret("s3-secret-key")}
        return {
            "name": "agent-runtime",
            "credentials": [keys],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }

    def _sockets(self, port: int) -> dict[str, Path]:
        """Where S3, at this port, and the filer are asked by the other parts."""
        own = {part: self._home / f"{part}.sock" for part in ("s3", "filer")}
        if all(len(str(path)) <= LONGEST_SOCKET_PATH for path in own.values()):
            return own
        return {part: Path(tempfile.gettempdir()) / f"agent-runtime-{part}-{port}.sock" for part in own}

    def program(self) -> Program:
        return Program(
            name=self.name,
            # Its logs would else also be files in /tmp.
            argv=(str(find_weed()), "-logtostderr=true", "mini", f"-options={self._home / 'options'}"),
            directory=self._home,
            ready=self._is_ready,
            address=f"{LOOPBACK}:{self._ports['s3.port']}",
            # Its collector would otherwise keep twice of what it uses. The limit stands well above what it maps: at
            # 160 MiB it collected all the time, a tenth of a core for nothing.
            environment={"HOME": str(self._home), "GOMEMLIMIT": "260MiB", "GOGC": "50"},
            leaves=self._leaves,
        )

    def _is_ready(self) -> bool:
        if http_request(self._ports["s3.port"], "/healthz")[0] != 200:
            return False
        return http_request(self._ports["filer.port"], f"/buckets/{BUCKET}/")[0] == 200

    def provision(self) -> None:
        """Nothing to make: the server makes the bucket named in its options."""

    def environment(self) -> dict[str, str]:
        return {
            "S3_ENDPOINT_URL": f"http://{LOOPBACK}:{self._ports['s3.port']}",
            "S3_REGION": "us-east-1",
            "S3_BUCKET": BUCKET,
            "S3_ACCESS_KEY_ID": self._state.secret("s3-access-key"),
            "S3_SECRET_ACCESS_KEY": self._state.secret("s3-secret-key"),
        }


def _call_socket(part: str, port: int) -> Path:
    """The socket over which this part, with gRPC at this port, hears the other parts."""
    return SOCKETS / f"seaweedfs-{part}-grpc-{port}.sock"


def _fits(part: str) -> Callable[[int], bool]:
    """Whether the part could make the socket that goes with its port."""
    return lambda port: _vacant(_call_socket(part, port))


def _vacant(*sockets: Path) -> bool:
    """Whether sockets can be made there: what an ended store left is taken away, if it is ours.

    With one of another user in its place the server says that it is ready, and every upload hangs.
    """
    try:
        for path in sockets:
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
