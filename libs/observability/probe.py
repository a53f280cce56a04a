"""`python -m libs.observability.probe URL`: exits with 0 when URL answers 200; for health checks without curl."""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 3


def answers(url: str) -> bool:
    """Whether a GET of an http URL is answered with 200 in time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else 1)
