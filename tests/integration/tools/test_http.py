"""The http tool against servers that answer well, badly, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from libs.domain.tools import (
    CallFailed,
    CallForbidden,
    CallNotSent,
    CallRefused,
    OutcomeUnknown,
    ToolResult,
)
from libs.tools.addresses import EgressPolicy
from libs.tools.egress import Egress
from tests.integration.tools.servers import Handler, Server, body, call, names, redirect, spec

pytestmark = pytest.mark.asyncio


async def _reset(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _sends(answer: bytes, then: float = 0) -> Handler:
    async def handler(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        await asyncio.sleep(then)

    return handler


async def test_status_and_body_are_the_result(server: Server, egress: Egress) -> None:
    result = await call(egress, spec(server.port))
    assert result == ToolResult("HTTP 200\n\nok")
    server.answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"
    assert await call(egress, spec(server.port)) == ToolResult("HTTP 404\n\ngone", is_error=True)
    server.answer = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
    assert (await call(egress, spec(server.port, effect="write", method="POST"))).is_error
    server.answer = b"HTTP/1.1 303 See\r\nLocation: /done\r\nContent-Length: 0\r\n\r\n"
    result = await call(egress, spec(server.port, effect="write", method="POST"))
    assert result == ToolResult("HTTP 303\nLocation: /done\n\n")


async def test_effects_decide_about_the_key_and_the_connection(server: Server, egress: Egress) -> None:
    for _ in range(3):
        await call(egress, spec(server.port))
    assert server.connections == 1
    assert b"idempotency-key" not in server.heads[-1].lower()
    await call(egress, spec(server.port, effect="idempotent", method="PUT"))
    assert b"Idempotency-Key: r.1.0\r\n" in server.heads[-1]
    for _ in range(2):
        await call(egress, spec(server.port, effect="write", method="POST"))
    assert b"Idempotency-Key: r.1.0\r\n" in server.heads[-1]
    assert server.connections == 3


async def test_what_is_sent(server: Server, egress: Egress) -> None:
    parameters = {"type": "object", "properties": {"id": {}, "n": {}}, "required": ["id"]}
    declared = spec(server.port, "/items/{id}", "write", "POST", parameters=parameters, headers={"X-A": "b"})
    await call(egress, declared, id="ä/1", n=3)
    head = server.heads[-1].split(b"\r\n")
    assert head[0] == b"POST /items/%C3%A4%2F1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}".encode() in head
    assert b"X-A: b" in head
    assert server.bodies[-1] == b'{"n":3}'


@pytest.mark.parametrize("effect", ["read", "idempotent", "write"])
@pytest.mark.parametrize(
    "handler",
    [
        _reset,
        _sends(b""),
        _sends(b"", then=5),
        _sends(b"HTTP/1.1 200 OK\r\nContent-Le"),
        _sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        _sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        _sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow", then=5),
        _sends(b"nonsense\r\n\r\n"),
        _sends(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"),
        _sends(b"HTTP/1.1 503 Away\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"),
        _sends(b"HTTP/1.1 504 Late\r\nContent-Length: 0\r\n\r\n"),
        _sends(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nnogzi"),
    ],
    ids=["reset", "closed", "silent", "head", "body", "chunk", "slow", "nonsense", "502", "503", "504", "packing"],
)
async def test_sent_without_a_clear_answer_is_unknown(
    server: Server, egress: Egress, handler: Handler, effect: str
) -> None:
    server.handler = handler
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown) as caught:
        await call(egress, spec(server.port, "/secret-path", effect, "POST"))
    assert time.monotonic() - started < 2
    assert caught.value.sent
    assert "secret-path" not in caught.value.message
    assert len(server.heads) == 1


async def test_a_full_stop_has_its_retry_after(server: Server, egress: Egress) -> None:
    server.answer = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(CallRefused) as caught:
        await call(egress, spec(server.port, effect="write", method="POST"))
    assert caught.value.retry_after == 7
    server.answer = b"HTTP/1.1 503 Slow\r\nRetry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(OutcomeUnknown) as unknown:
        await call(egress, spec(server.port))
    assert unknown.value.retry_after == 3600


async def test_what_never_left_was_not_sent(server: Server, egress: Egress) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    open_egress = Egress(EgressPolicy.parse("127.0.0.0/8"), names)
    for declared in (spec(closed, effect="write"), spec(server.port, effect="write", host="nobody.example")):
        with pytest.raises(CallNotSent) as caught:
            await call(open_egress, declared)
        assert not caught.value.sent
    without_tls = spec(server.port).model_copy(update={"url": f"https://127.0.0.1:{server.port}/"})
    with pytest.raises(CallNotSent):
        await call(egress, without_tls)
    await open_egress.close()
    assert not server.heads


@contextmanager
def _full_backlog() -> Iterator[int]:
    """A port where connections are neither accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


async def test_a_connection_that_hangs_was_not_sent() -> None:
    egress = Egress(EgressPolicy.parse("127.0.0.0/8"))
    with _full_backlog() as port, pytest.raises(CallNotSent):
        await call(egress, spec(port, effect="write", method="POST"))
    await egress.close()


async def test_a_resolver_that_hangs_was_not_sent() -> None:
    def hangs(host: str, port: int) -> list[str]:
        time.sleep(2)
        return []

    egress = Egress(EgressPolicy(), hangs)
    with pytest.raises(CallNotSent):
        await call(egress, spec(80, effect="write", host="slow.example"))
    await egress.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "one.example", "2130706433", "0x7f.1", "localhost", "[::1]"])
async def test_private_addresses_are_forbidden_and_the_way_out_is_named(server: Server, host: str) -> None:
    closed = Egress(EgressPolicy.parse("10.0.0.0/8"), names if host.endswith("example") else None)
    with pytest.raises(CallForbidden, match=r"EGRESS_ALLOW=.*:\d+"):
        await call(closed, spec(server.port, host=host))
    await closed.close()
    assert server.connections == 0


async def test_every_address_of_a_name_must_be_allowed(server: Server, egress: Egress) -> None:
    assert not (await call(egress, spec(server.port, host="one.example"))).is_error
    assert f"Host: one.example:{server.port}".encode() in server.heads[-1]
    with pytest.raises(CallForbidden, match=r"10\.0\.0\.1"):
        await call(egress, spec(server.port, host="mixed.example"))


async def test_a_name_is_resolved_once_for_a_connection(server: Server) -> None:
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    egress = Egress(EgressPolicy.parse(f"127.0.0.1:{server.port}"), lambda host, port: answers.pop(0))
    assert not (await call(egress, spec(server.port, host="rebinding.example"))).is_error
    # The open connection still goes to the address that was checked; a new one is checked anew.
    assert not (await call(egress, spec(server.port, host="rebinding.example"))).is_error
    assert server.connections == 1
    with pytest.raises(CallForbidden):
        await call(egress, spec(server.port, host="rebinding.example", effect="write"))
    await egress.close()


async def test_redirects_are_followed_for_reading_only(server: Server, egress: Egress) -> None:
    server.answers = {b"/x": redirect("/y"), b"/y": redirect("/z?q=1")}
    assert await call(egress, spec(server.port)) == ToolResult("HTTP 200\n\nok")
    for declared in (spec(server.port, effect="read", method="POST"), spec(server.port, effect="write")):
        assert "Location: /y" in (await call(egress, declared)).content
    server.answers = {b"/x": redirect("/x")}
    assert (await call(egress, spec(server.port))).is_error


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/", "http://169.254.169.254/latest", "http://[::1]:1/", "file:///etc/passwd"]
)
async def test_a_redirect_is_checked_like_a_call(server: Server, egress: Egress, target: str) -> None:
    server.answers = {b"/x": redirect(target)}
    with pytest.raises(CallForbidden):
        await call(egress, spec(server.port))


async def test_headers_do_not_cross_origins(server: Server, egress: Egress) -> None:
    server.answers = {b"/x": redirect(f"http://two.example:{server.port}/y")}
    await call(egress, spec(server.port, headers={"Authorization": "Bearer secret"}))
    assert b"secret" in server.heads[0]
    assert b"secret" not in server.heads[1]
    assert f"Host: two.example:{server.port}".encode() in server.heads[1]


async def test_a_long_body_is_cut_and_says_so(server: Server, egress: Egress) -> None:
    server.answer = body(b"x" * 5_000_000)
    result = await call(egress, spec(server.port, max_response_bytes=100))
    assert result.content == f"HTTP 200\n\n{'x' * 100}\n\n[cut: only the first 100 bytes are shown]"
    server.answer = body(("ä" * 100).encode(), "Content-Type: text/plain")
    assert "ä" * 3 in (await call(egress, spec(server.port, max_response_bytes=7))).content
    server.answer = body(("ä" * 100).encode())
    assert "[cut" in (await call(egress, spec(server.port, max_response_bytes=7))).content


async def test_an_endless_body_ends(server: Server, egress: Egress) -> None:
    async def endless(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    server.handler = endless
    assert len((await call(egress, spec(server.port, max_response_bytes=1000))).content) < 1100


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
async def test_a_packed_body_is_unpacked_up_to_the_limit(server: Server, egress: Egress, packing: str) -> None:
    pack = gzip.compress if packing == "gzip" else zlib.compress
    server.answer = body(pack(b"hello"), f"Content-Encoding: {packing}")
    assert (await call(egress, spec(server.port))).content == "HTTP 200\n\nhello"
    server.answer = body(pack(b"\0" * 200_000_000), f"Content-Encoding: {packing}", "Content-Type: text/plain")
    before = _peak_memory()
    result = await call(egress, spec(server.port, max_response_bytes=1000, timeout_seconds=5))
    assert "[cut" in result.content
    assert _peak_memory() - before < 20_000


async def test_what_is_no_text_is_named(server: Server, egress: Egress) -> None:
    server.answer = body(b"\x89PNG\x00\xff", "Content-Type: image/png")
    assert "no text (image/png)" in (await call(egress, spec(server.port))).content
    server.answer = body(b"x", "Content-Encoding: br")
    assert "'br'" in (await call(egress, spec(server.port))).content
    server.answer = body(b"gr\xfc\xdfe\x00", "Content-Type: text/plain; charset=iso-8859-1")
    assert (await call(egress, spec(server.port))).content == "HTTP 200\n\ngrüße\ufffd"


async def test_the_environmentnames_no_proxy(server: Server, egress: Egress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert not (await call(egress, spec(server.port))).is_error


async def test_cookies_are_not_kept(server: Server, egress: Egress) -> None:
    server.answer = body(b"x", "Set-Cookie: a=b; Path=/")
    for _ in range(2):
        await call(egress, spec(server.port))
    assert b"a=b" not in server.heads[-1]


async def test_a_cancelled_call_leaves_the_pool_usable(server: Server, egress: Egress) -> None:
    server.handler = _sends(b"", then=5)
    calls = [asyncio.create_task(call(egress, spec(server.port))) for _ in range(5)]
    await asyncio.sleep(0.1)
    for one in calls:
        one.cancel()
    assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*calls, return_exceptions=True))
    server.handler = None
    assert not (await call(egress, spec(server.port))).is_error
    assert issubclass(OutcomeUnknown, CallFailed)


def _peak_memory() -> int:
    """Kilobytes."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
