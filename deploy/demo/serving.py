"""Serves one of the demo's HTTP programs on the loopback address, in this process or in a thread of it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LOOPBACK = "127.0.0.1"
KEEP_ALIVE_SECONDS = 120


class NotServing(Exception):
    """The server has ended before it was ready."""


class BreakableProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it; an application can break the connection through `scope["state"]["transport"]`."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


def reset(scope: Any) -> None:
    """Break the connection with a TCP reset instead of an orderly end."""
    transport = scope["state"]["transport"]
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def server(app: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=LOOPBACK,
        loop="uvloop",
        http=BreakableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def listening_socket(port: int = 0, host: str = LOOPBACK) -> socket.socket:
    """A bound socket; port 0 takes a free one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def run(app: Any, port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    server(app).run(sockets=[listening_socket(port)])


@contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """Serve in a thread of this process; gives the server's URL."""
    running = server(app)
    with listening_socket(port) as listener:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not running.started:
                if not thread.is_alive():
                    raise NotServing(f"the server on port {listener.getsockname()[1]} has ended at once")
                time.sleep(0.005)
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(5)
