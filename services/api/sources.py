"""Where a request comes from: the peer of the connection, or what proxies that are trusted say of it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

UNKNOWN = "unknown"
MAX_HOPS = 20
Network = IPv4Network | IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks, by comma. Raises ValueError for anything else."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


class Sources:
    """Believes X-Forwarded-For only as far as each hop was written by a proxy that is trusted."""

    def __init__(self, trusted: Iterable[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def of(self, scope: Any) -> str:
        """The address of whoever sent the request, as text."""
        client = scope.get("client")
        source = _address(client[0]) if client else None
        if source is None:
            return UNKNOWN
        if not self._trusted or not self._trusts(source):
            return source
        for hop in reversed(_forwarded(scope["headers"])):
            address = _address(hop)
            if address is None:
                break  # what a trusted proxy did not write as an address is nobody's
            source = address
            if not self._trusts(source):
                break
        return source

    def _trusts(self, address: str) -> bool:
        parsed = ip_address(address)
        return any(parsed in network for network in self._trusted)


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return ",".join(values).split(",")[-MAX_HOPS:] if values else []


def _address(text: str) -> str | None:
    """In its canonical form; an IPv4 address inside an IPv6 one is the IPv4 address."""
    try:
        parsed = ip_address(text.strip().removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        if parsed.scope_id:
            return str(parsed).partition("%")[0]
    return str(parsed)
