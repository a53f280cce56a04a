"""One ceiling per tenant and minute over all its users and routes; the API's own limits pass as they are."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.gateway.conftest import Answer, ask
from tests.conformance.gateway.site import Site

FIELDS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def in_one_minute(seconds: float) -> None:
    """Ceilings are counted by the minute of the clock: begin a new one where this one is nearly over."""
    rest = 60 - time.time() % 60
    if rest < seconds:
        time.sleep(rest + 0.5)


def storm(site: Site, headers: dict[str, str], count: int) -> list[Answer]:
    paths = ["/v1/agents", "/v1/runs", "/v1/runs/x", "/v1/artifacts/x"]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda n: ask(site.echo_url, "GET", paths[n % 4], headers), range(count)))


def test_a_tenant_has_one_ceiling(echoing: Site) -> None:
    in_one_minute(25)
    for _ in range(5):
        ask(echoing.echo_url, "GET", "/v1/agents").is_problem(401)
    first = ask(echoing.echo_url, "GET", "/v1/agents", echoing.bearer("other"))
    assert [int(first.header(name)) for name in FIELDS[:2]] == [echoing.ceiling, echoing.ceiling - 1]
    answers = storm(echoing, echoing.bearer("other"), echoing.ceiling + 20)
    assert sum(answer.status == 200 for answer in answers) == echoing.ceiling - 1
    refused = ask(echoing.echo_url, "POST", "/v1/runs", echoing.bearer("other"), b"{}")
    refused.is_problem(429, "rate_limited")
    assert int(refused.header("RateLimit-Limit")) == echoing.ceiling
    assert int(refused.header("RateLimit-Remaining")) == 0
    assert 0 < int(refused.header("Retry-After")) <= 60
    assert refused.header("Retry-After") == refused.header("RateLimit-Reset")
    assert ask(echoing.echo_url, "GET", "/v1/agents", echoing.bearer("operator")).status == 200


def test_users_of_a_tenant_share_it(echoing: Site) -> None:
    in_one_minute(10)
    remaining = [
        int(ask(echoing.echo_url, "GET", "/v1/agents", echoing.bearer(who)).header("RateLimit-Remaining"))
        for who in ("operator", "user", "operator")
    ]
    assert remaining == [remaining[0], remaining[0] - 1, remaining[0] - 2]


def test_who_has_no_tenant_has_a_ceiling_too(echoing: Site) -> None:
    if echoing.mint is None:
        pytest.skip("needs an issuer that signs whatever it is told")
    mint: Any = echoing.mint
    in_one_minute(25)

    def remaining(**token: Any) -> int:
        headers = {"Authorization": f"Bearer {mint(tenant=None, **token)}"}
        return int(ask(echoing.echo_url, "GET", "/v1/agents", headers).header("RateLimit-Remaining"))

    def account(name: str) -> dict[str, Any]:
        return {"role": "user", "client": name, "claims": {"client_id": name}}

    assert remaining(subject="one", **account("build-1")) - remaining(subject="two", **account("build-1")) == 1
    assert remaining(**account("build-2")) == echoing.ceiling - 1
    assert remaining(role="admin", subject="root-1") - remaining(role="admin", subject="root-1") == 1
    assert remaining(role="admin", subject="root-2") == echoing.ceiling - 1


def test_limits_of_the_api_are_what_a_client_reads(echoing: Site) -> None:
    """A plan is narrower than the gateway's ceiling: one value of each field, the API's."""
    answer = ask(echoing.echo_url, "GET", "/v1/limited", echoing.bearer())
    answer.is_problem(429, "rate_limited")
    assert [answer.header(name) for name in (*FIELDS, "Retry-After")] == ["5", "0", "1", "1"]
