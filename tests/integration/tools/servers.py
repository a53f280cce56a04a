"""A server that answers in raw bytes, and calls of the http tool to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from libs.domain.secrets import Revealed
from libs.domain.tool_specs import HttpToolSpec
from libs.domain.tools import ToolCall, ToolContext, ToolResult
from libs.tools.egress import Egress
from libs.tools.http import HttpTool

SECRETS = Revealed({"crm": "value-of-crm"})
Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Speaks raw bytes: what it answers to a request line is a handler's business."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.answers: dict[bytes, bytes] = {}
        self.handler: Handler | None = None
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                self.bodies.append(await reader.readexactly(length))
                if self.handler:
                    await self.handler(head, reader, writer)
                    return
                writer.write(self.answers.get(head.split(b" ")[1], self.answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def names(host: str, port: int) -> list[str]:
    known = {"one.example": ["127.0.0.1"], "two.example": ["127.0.0.1"], "mixed.example": ["127.0.0.1", "10.0.0.1"]}
    if host not in known:
        raise socket.gaierror("unknown name")
    return known[host]


def spec(port: int, path: str = "/x", effect: str = "read", method: str = "GET", **given: Any) -> HttpToolSpec:
    host = given.pop("host", "127.0.0.1")
    plain = {
        "type": "http",
        "name": "f",
        "description": "d",
        "url": f"http://{host}:{port}{path}",
        "timeout_seconds": 0.5,
    }
    return HttpToolSpec.model_validate(plain | {"effect": effect, "method": method} | given)


async def call(egress: Egress, declared: HttpToolSpec, **arguments: Any) -> ToolResult:
    async def no_artifacts() -> list[Any]:
        return []

    objects: Any = None
    context = ToolContext(UUID(int=1), UUID(int=2), 1, 0, 1, objects, no_artifacts, secrets=SECRETS)
    return await HttpTool(declared, egress).call(ToolCall("f", arguments, "r.1.0"), context)


def redirect(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


def body(content: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
