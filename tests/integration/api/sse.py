"""Reads Server-Sent Events in a test, one frame at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Frame:
    event: str
    id: str | None
    data: Any


@contextmanager
def events_of(client: httpx.Client, run_id: str, **headers: str) -> Iterator[Iterator[Frame]]:
    """The frames of a run's stream; comments are left out, `retry` is a frame of its own."""
    sent = {"Accept": "text/event-stream", **headers}
    with client.stream("GET", f"/v1/runs/{run_id}/events", headers=sent) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield frames(response.iter_lines())


def frames(lines: Iterator[str]) -> Iterator[Frame]:
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            if "retry" in fields:
                yield Frame("retry", None, int(fields["retry"]))
            else:
                yield Frame(fields["event"], fields.get("id"), json.loads(fields["data"]))
            fields = {}
