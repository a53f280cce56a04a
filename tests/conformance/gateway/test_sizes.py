"""How large a request may be, by route."""

from __future__ import annotations

import time

from tests.conformance.gateway.conftest import ask
from tests.conformance.gateway.site import Site

MIB = 1024 * 1024


def test_a_body_may_have_one_mebibyte(echoing: Site) -> None:
    assert ask(echoing.echo_url, "POST", "/v1/runs", echoing.bearer(), b"x" * MIB).json["length"] == MIB
    ask(echoing.echo_url, "POST", "/v1/runs", echoing.bearer(), b"x" * (MIB + 1)).is_problem(413, "payload_too_large")
    chunked = ask(echoing.echo_url, "POST", "/v1/runs", echoing.bearer(), b"x" * (MIB + 1), chunked=True)
    chunked.is_problem(413, "payload_too_large")


def test_an_artifact_may_have_thirty_two(echoing: Site) -> None:
    path = "/v1/artifacts?name=a"
    assert ask(echoing.echo_url, "POST", path, echoing.bearer(), b"x" * 32 * MIB).json["length"] == 32 * MIB
    ask(echoing.echo_url, "POST", path, echoing.bearer(), b"x" * (32 * MIB + 1)).is_problem(413, "payload_too_large")
    ask(echoing.echo_url, "POST", path, echoing.bearer(), b"x", chunked=True).is_problem(411)
    ask(echoing.echo_url, "PUT", path, echoing.bearer(), b"x" * (MIB + 1)).is_problem(413)


def test_without_a_token_nothing_is_read(gateway: Site) -> None:
    began = time.monotonic()
    ask(gateway.url, "POST", "/v1/artifacts?name=a", {}, b"x" * 30 * MIB).is_problem(401)
    assert time.monotonic() - began < 10


def test_an_artifact_passes_whole(gateway: Site) -> None:
    content = bytes(range(256)) * 8192
    made = ask(gateway.url, "POST", "/v1/artifacts?name=a.bin", gateway.bearer(), content)
    assert made.status == 201, made.body
    answer = ask(gateway.url, "GET", f"{made.header('Location')}/content", gateway.bearer())
    assert answer.body == content
    assert answer.header("Cache-Control") == "private, no-cache"
