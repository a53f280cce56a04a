"""Where a request comes from, and whom nobody believes about it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.api.settings import ApiSettings
from services.api.sources import UNKNOWN, Sources, parse_networks


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode()) for value in forwarded)]
    return {"client": (peer, 1) if peer else None, "headers": headers}


def source(trusted: str, peer: str | None, *forwarded: str) -> str:
    return Sources(parse_networks(trusted)).of(scope(peer, *forwarded))


def test_nobody_is_believed_unless_a_proxy_is_trusted() -> None:
    assert source("", "127.0.0.1", "1.2.3.4") == "127.0.0.1"
    assert source("10.0.0.0/8", "192.0.2.1", "1.2.3.4") == "192.0.2.1"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (("1.2.3.4",), "1.2.3.4"),
        (("6.6.6.6, 1.2.3.4",), "1.2.3.4"),  # what a client wrote itself stands to the left
        (("6.6.6.6", "1.2.3.4"), "1.2.3.4"),
        (("1.2.3.4, 10.0.0.7",), "1.2.3.4"),  # through two trusted proxies
        (("6.6.6.6, 1.2.3.4, 10.0.0.7",), "1.2.3.4"),
        (("nonsense, 10.0.0.7",), "10.0.0.7"),
        (("nonsense",), "10.0.0.1"),
        ((), "10.0.0.1"),
        (("[2001:DB8::1]",), "2001:db8::1"),
        (("::ffff:1.2.3.4",), "1.2.3.4"),
    ],
)
def test_a_trusted_proxy_is_believed_about_its_own_hop(forwarded: tuple[str, ...], expected: str) -> None:
    assert source("10.0.0.0/8, ::1", "10.0.0.1", *forwarded) == expected


def test_an_address_has_one_form() -> None:
    assert source("", "::ffff:192.0.2.1") == "192.0.2.1"
    assert source("192.0.2.1", "::ffff:192.0.2.1", "1.2.3.4") == "1.2.3.4"
    assert source("", "fe80::1%eth0") == "fe80::1"
    assert source("", None) == source("", "testclient") == UNKNOWN


def test_what_is_no_network_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        ApiSettings.model_validate(
            {
                "database_url": "x", "database_maintenance_url": "x", "redis_url": "x", "temporal_address": "x",
                "s3_bucket": "x", "oidc_issuer": "x", "trusted_proxies": "everyone",
            }
        )  # fmt: skip
