"""One gateway for the session, and requests that say exactly what goes over the wire."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conformance.gateway.site import Site, site
from tests.fixtures.kong.rendering import LUA


@pytest.fixture(scope="session")
def gateway() -> Iterator[Site]:
    if LUA is None:
        pytest.skip("the reference gateway needs luajit and lua-cjson")
    with site() as found:
        yield found


@pytest.fixture
def echoing(gateway: Site) -> Site:
    """The same gateway with an upstream that tells what reached it."""
    if not gateway.echo_url:
        pytest.skip("GATEWAY_ECHO_URL is not set")
    return gateway


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str:
        """The one value of a header; several are a failure."""
        values = self.headers.get(name.lower(), [])
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_problem(self, status: int, code: str | None = None) -> None:
        assert self.status == status, (self.status, self.body[:300])
        assert self.header("Content-Type") == "application/problem+json"
        assert self.json["status"] == status
        if code:
            assert self.json["code"] == code


def ask(
    url: str,
    method: str,
    path: str,
    headers: Any = (),
    body: Any = None,
    *,
    host: str | None = None,
    chunked: bool = False,
) -> Answer:
    """A request with exactly this path; `headers` is a mapping or pairs."""
    place = urlsplit(url)
    maker = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = maker(place.netloc, timeout=100)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host or place.netloc)
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif body is not None or method in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", str(len(body or b"")))
        # It may answer before it was told everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(iter([body]) if chunked else body, encode_chunked=chunked)
        answer = connection.getresponse()
        found: dict[str, list[str]] = {}
        for name, value in answer.getheaders():
            found.setdefault(name.lower(), []).append(value)
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()
