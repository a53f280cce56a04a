"""Which addresses tools may reach, in every spelling."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from libs.tools.addresses import EgressPolicy, UnknownRule, is_public, unwrapped

CLOSED = """
127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 169.254.169.254 169.254.170.2 172.16.0.1
172.31.255.255 192.0.0.1 192.0.2.1 192.168.1.1 198.18.0.1 198.19.255.255 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1
255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 64:ff9b::7f00:1
64:ff9b::a9fe:a9fe 64:ff9b:1::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%1 fec0::1 ff02::1 100::1 2001::1 2001:db8::1
2002:7f00:1:: 3fff::1 4000::1
"""
OPEN = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255
172.15.255.255 172.32.0.0 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700::1111
2001:4860:4860::8888 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::808:808
"""


@pytest.mark.parametrize("text", CLOSED.split())
def test_addresses_that_are_refused(text: str) -> None:
    assert not is_public(unwrapped(ip_address(text)))
    assert EgressPolicy().refused("name.example", 80, [ip_address("8.8.8.8"), ip_address(text)]) is not None


@pytest.mark.parametrize("text", OPEN.split())
def test_addresses_that_are_open(text: str) -> None:
    assert EgressPolicy().refused("name.example", 80, [ip_address(text)]) is None


@pytest.mark.parametrize(
    "spelling", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "017700000001"]
)
def test_odd_spellings_resolve_to_what_is_checked(spelling: str) -> None:
    addresses = [ip_address(info[4][0]) for info in socket.getaddrinfo(spelling, 80, type=socket.SOCK_STREAM)]
    assert EgressPolicy().refused(spelling, 80, addresses) == ip_address("127.0.0.1")


@pytest.mark.parametrize(
    ("allow", "host", "port", "address", "allowed"),
    [
        ("127.0.0.0/8", "localhost", 80, "127.0.0.1", True),
        ("127.0.0.1", "localhost", 9000, "127.0.0.1", True),
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1", True),
        ("127.0.0.1:8080", "127.0.0.1", 8081, "127.0.0.1", False),
        ("127.0.0.1:8080", "anything", 8080, "::ffff:127.0.0.1", True),
        ("stock.internal", "stock.internal", 443, "10.1.2.3", True),
        ("stock.internal", "STOCK.internal.", 443, "10.1.2.3", True),
        ("Stock.Internal.:443", "stock.internal", 443, "10.1.2.3", True),
        ("stock.internal:443", "stock.internal", 80, "10.1.2.3", False),
        ("stock.internal", "evil.stock.internal", 80, "10.1.2.3", False),
        ("stock.internal", "other.internal", 80, "10.1.2.3", False),
        ("10.0.0.0/8, fd00::/8", "x", 80, "fd00::5", True),
        ("[fd00::5]:80", "x", 80, "fd00::5", True),
        ("[fd00::5]:80", "x", 81, "fd00::5", False),
        ("10.0.0.0/8", "x", 80, "169.254.169.254", False),
        ("", "x", 80, "10.0.0.1", False),
    ],
)
def test_what_the_operator_allows(allow: str, host: str, port: int, address: str, allowed: bool) -> None:
    refused = EgressPolicy.parse(allow).refused(host, port, [ip_address(address)])
    assert (refused is None) is allowed


def test_one_closed_address_among_allowed_ones_is_enough() -> None:
    addresses = [ip_address("10.0.0.1"), ip_address("192.168.0.1")]
    assert EgressPolicy.parse("10.0.0.0/8").refused("x", 80, addresses) == ip_address("192.168.0.1")


@pytest.mark.parametrize(
    "entry", ["http://x", "10.0.0.0/33", "x:99999", "x:", "a b", "x/24", "*", "2130706433", "0x7f.1", "-x"]
)
def test_rules_that_mean_nothing_are_refused(entry: str) -> None:
    with pytest.raises(UnknownRule, match="EGRESS_ALLOW"):
        EgressPolicy.parse(f"10.0.0.0/8,{entry}")
