"""Small questions to servers on the loopback address: does it listen, what does it answer."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from deploy.embedded.ports import LOOPBACK


def http_request(
    port: int,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    timeout: float = 2,
) -> tuple[int, bytes]:
    """Status and body; status 0 when nobody answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        content = None if body is None else json.dumps(body).encode()
        typed = {"Content-Type": "application/json"} if content else {}
        connection.request(method, path, body=content, headers={**typed, **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def http_json(port: int, path: str, **request: Any) -> tuple[int, Any]:
    """Status and the answer's JSON value; None when it has none."""
    status, body = http_request(port, path, timeout=10, **request)
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None


def exchange(port: int, message: bytes, timeout: float = 1.0) -> bytes:
    """Send bytes, give the first that come back; nothing when nobody answers."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout) as connection:
            connection.sendall(message)
            return connection.recv(4096)
    except OSError:
        return b""
