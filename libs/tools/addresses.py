"""Which network addresses a tool may reach: public ones, and those that the operator allows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's special-purpose registries, written out: what `is_global` says differs between releases of Python.
_CLOSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_OPEN_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_RULE = re.compile(r"\[(?P<bracketed>[^\]]+)\](?::(?P<port6>\d+))?|(?P<host>[^:\[\]]+)(?::(?P<port>\d+))?")


class UnknownRule(ValueError):
    """EGRESS_ALLOW holds something that is no address range, no host and no host:port."""


@dataclass(frozen=True)
class Rule:
    """One entry of EGRESS_ALLOW; a name matches as it stands in the URL, a network matches what names resolve to."""

    name: str | None = None
    network: Network | None = None
    port: int | None = None

    def allows(self, host: str, port: int, address: Address) -> bool:
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return address in self.network
        return self.name == plain_name(host)


@dataclass(frozen=True)
class EgressPolicy:
    """Public addresses may be reached, others only by a rule."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> EgressPolicy:
        """From EGRESS_ALLOW: a comma list of address ranges (10.0.0.0/8), hosts and host:port.

        Raises:
            UnknownRule: an entry is none of these.
        """
        entries = [entry.strip() for entry in (text or "").split(",")]
        return cls(tuple(_rule(entry) for entry in entries if entry))

    def refused(self, host: str, port: int, addresses: Sequence[Address]) -> Address | None:
        """The first address that may not be reached, None when all may."""
        for address in map(unwrapped, addresses):
            if not is_public(address) and not any(rule.allows(host, port, address) for rule in self.rules):
                return address
        return None


def is_public(address: Address) -> bool:
    """Whether an address, unwrapped, belongs to the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, or NAT64), otherwise the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def plain_name(host: str) -> str:
    """A host name as names are compared."""
    return host.lower().rstrip(".")


def _rule(entry: str) -> Rule:
    try:
        return Rule(network=ip_network(entry, strict=False))
    except ValueError:
        found = _RULE.fullmatch(entry)
    if found is None:
        raise _unknown(entry)
    host, port = found["bracketed"] or found["host"], found["port6"] or found["port"]
    number = int(port) if port else None
    if number is not None and not 0 < number < 65536:
        raise _unknown(entry)
    try:
        return Rule(network=ip_network(ip_address(host)), port=number)
    except ValueError:
        name = plain_name(host)
    # A name made of digits only would be another spelling of an address.
    if not _NAME.fullmatch(name) or not re.search("[a-z]", name.rsplit(".", 1)[-1]) or name.startswith("0x"):
        raise _unknown(entry)
    return Rule(name=name, port=number)


def _unknown(entry: str) -> UnknownRule:
    return UnknownRule(
        f"EGRESS_ALLOW: {entry!r} is no address range (10.0.0.0/8), no host (stock.internal) and no host:port"
    )
