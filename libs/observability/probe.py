"""`python -I -S probe.py URL`: exits with 0 when an http URL answers 200; for health checks without curl."""

import socket
import sys

# It runs every few seconds in every container: nothing is imported that takes time to load.
TIMEOUT_SECONDS = 3


def answers(url: str) -> bool:
    """Whether a GET of http://HOST:PORT/PATH is answered with 200 in time."""
    address, _, path = url.removeprefix("http://").partition("/")
    host, _, port = address.partition(":")
    request = f"GET /{path} HTTP/1.0\r\nHost: {address}\r\n\r\n"
    try:
        with socket.create_connection((host, int(port)), TIMEOUT_SECONDS) as connection:
            connection.sendall(request.encode())
            status = connection.makefile("rb").readline().split()
    except OSError:
        return False
    return len(status) > 1 and status[1] == b"200"


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else 1)
