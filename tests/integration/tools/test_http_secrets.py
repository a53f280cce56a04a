"""Secrets in headers of the http tool: where they go, and that they do not come back."""

from __future__ import annotations

from typing import Any

from libs.tools.egress import Egress
from tests.integration.tools.servers import Server, body, call, redirect, spec


async def test_secrets_go_to_their_origin_only_and_do_not_come_back(server: Server, egress: Egress) -> None:
    header: dict[str, Any] = {
        "headers": {"User-Agent": {"secret": "crm"}, "X-Key": {"secret": "crm", "prefix": "Key "}}
    }
    server.answers = {b"/x": redirect("/y"), b"/y": redirect(f"http://two.example:{server.port}/z")}
    server.answer = body(b"you sent %76alue-of-crm")
    result = await call(egress, spec(server.port, **header))
    assert result.content == "HTTP 200\n\nyou sent [secret crm]"
    assert [head.count(b"value-of-crm") for head in server.heads] == [2, 2, 0]
    assert b"X-Key: Key value-of-crm\r\n" in server.heads[1]


async def test_a_secret_at_the_cut_does_not_come_back(server: Server, egress: Egress) -> None:
    server.answer = body(b"x" * 90 + b"value-of-crm" + b"y" * 1000)
    for limit in (98, 99, 101, 102):
        result = await call(egress, spec(server.port, max_response_bytes=limit))
        assert "value-of" not in result.content
        assert "x" * 90 in result.content


async def test_without_its_secret_nothing_is_sent(server: Server, egress: Egress) -> None:
    result = await call(egress, spec(server.port, headers={"Authorization": {"secret": "other"}}))
    assert result.is_error
    assert "secret other, but it does not exist" in result.content
    assert server.connections == 0
