"""The way out for tools: every address of a name is checked, and the connection goes to one that was checked."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import anyio
import httpcore
import httpx

from libs.clients.threads import DaemonThreads, NoThreadFree
from libs.domain.tools import CallForbidden, CallNotSent
from libs.tools.addresses import Address, EgressPolicy

CONNECTIONS = 500
# Shorter than the five seconds after which many servers close an idle connection.
KEEP_ALIVE_SECONDS = 4.0
CONNECT_SECONDS = 10.0
RESOLVING = 16  # names at a time
TRIED_ADDRESSES = 4

Resolver = Callable[[str, int], list[str]]


@dataclass
class Progress:
    """How far a call has come."""

    sent: bool = False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore before and after each of its steps."""
        if event.endswith(".send_request_headers.started"):
            self.sent = True


@dataclass(frozen=True)
class Outgoing:
    """A request as it leaves; its headers are complete but for Host and Content-Length.

    `private` are the names of headers that hold a secret: no other origin gets them.
    """

    method: str
    url: httpx.URL
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    private: frozenset[str] = frozenset()


class Egress:
    """The connections of a process to what tools reach: no cookies, no proxy from the environment."""

    def __init__(self, policy: EgressPolicy, resolve: Resolver | None = None) -> None:
        backend = _GuardedBackend(policy, resolve or _resolve)
        context = httpx.create_ssl_context()

        def pool(idle_connections: int) -> httpcore.AsyncConnectionPool:
            return httpcore.AsyncConnectionPool(
                ssl_context=context,
                max_connections=CONNECTIONS,
                max_keepalive_connections=idle_connections,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=backend,
            )

        self._kept, self._fresh = pool(100), pool(0)

    @asynccontextmanager
    async def send(
        self, request: Outgoing, progress: Progress, seconds: float, *, fresh: bool
    ) -> AsyncIterator[httpcore.Response]:
        """The answer, its body not yet read; `fresh` takes no connection that the other side may be closing just now.

        Raises:
            CallForbidden: an address of the host may not be reached.
            CallNotSent: the name was not resolved.
        """
        pool = self._fresh if fresh else self._kept
        url = request.url
        timeouts = {"connect": min(seconds, CONNECT_SECONDS), "read": seconds, "write": seconds, "pool": seconds}
        async with pool.stream(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=_headers(request),
            content=request.body,
            extensions={"timeout": timeouts, "trace": progress.trace},
        ) as response:
            yield response

    async def close(self) -> None:
        await self._kept.aclose()
        await self._fresh.aclose()


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Every connection of the pools is made here, so that none is made unchecked."""

    def __init__(self, policy: EgressPolicy, resolve: Resolver) -> None:
        self._policy = policy
        self._resolve = resolve
        self._threads = DaemonThreads("resolver", RESOLVING, patience=5.0)
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        refused = self._policy.refused(host, port, addresses)
        if refused is not None:
            raise CallForbidden(
                f"The address of {host}:{port} ({refused}) is not public, and this platform does not let tools reach "
                f"it. The operator can allow it with EGRESS_ALLOW={host}:{port}."
            )
        failure: Exception = httpcore.ConnectError("no address")
        for address in addresses[:TRIED_ADDRESSES]:
            try:
                stream = await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
                return _Connected(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise CallForbidden("Tools reach no local sockets.")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            found = await self._threads.run(lambda: self._resolve(host, port))
        except (OSError, UnicodeError, NoThreadFree) as error:
            raise CallNotSent(f"the name {host} could not be resolved: {type(error).__name__}") from None
        addresses = [ip_address(text) for text in dict.fromkeys(found)]
        if not addresses:
            raise CallNotSent(f"the name {host} has no address")
        return addresses


class _Connected(httpcore.AsyncNetworkStream):
    """A connection that is closed when a handshake on it is given up; httpcore leaves it open when it is cancelled."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self.read = stream.read  # type: ignore[method-assign]  # nothing to add, and called for every piece
        self.write = stream.write  # type: ignore[method-assign]  # the same
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]  # the same

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise


def _resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system answers; it also reads odd spellings of addresses, such as 0x7f.1."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _headers(request: Outgoing) -> list[tuple[bytes, bytes]]:
    headers = [("Host", request.url.netloc.decode("ascii")), *request.headers.items()]
    if request.body is not None:
        headers.append(("Content-Length", str(len(request.body))))
    elif request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", "0"))
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
