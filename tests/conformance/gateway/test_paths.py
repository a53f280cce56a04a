"""What can be reached through the gateway, however a path is written."""

from __future__ import annotations

import pytest

from tests.conformance.gateway.conftest import ask
from tests.conformance.gateway.site import Site
from tests.unit.kong.checks import CLOSED, REALM


@pytest.mark.parametrize("path", [path for path in CLOSED if not path.startswith("/V1")])
def test_what_is_inside_stays_inside(gateway: Site, path: str) -> None:
    for method, headers in (("GET", gateway.bearer()), ("POST", {}), ("OPTIONS", {})):
        ask(gateway.url, method, path, headers).is_problem(404, "not_found")


@pytest.mark.parametrize(
    "path", ["/v1/..%2fmetrics", "/v1/..%2F..%2Fadmin", "/v1/%252e%252e/metrics", "/v1/..;/metrics"]
)
def test_what_looks_like_a_way_out_is_a_path_that_the_api_does_not_have(gateway: Site, path: str) -> None:
    assert ask(gateway.url, "GET", path).status in (401, 404)
    answer = ask(gateway.url, "GET", path, gateway.bearer())
    assert answer.status == 404
    assert b"agent_runtime_api_requests_total" not in answer.body


def test_keycloak_is_reached_under_its_public_name_only(gateway: Site) -> None:
    path = f"{REALM}/.well-known/openid-configuration"
    answer = ask(gateway.url, "GET", path)
    assert answer.status == 200
    assert answer.json["issuer"].endswith(REALM)
    ask(gateway.url, "GET", path, host="evil.example").is_problem(404)
    ask(gateway.url, "GET", f"{REALM}/protocol/openid-connect/certs", host="evil.example:80").is_problem(404)


def test_the_path_arrives_as_it_was_sent(echoing: Site) -> None:
    path = "/v1/runs/a%2Fb%20c?label=x%3Ay&label=z"
    answer = ask(echoing.echo_url, "GET", path, echoing.bearer())
    assert answer.json["path"] == path.partition("?")[0]


def test_a_token_in_the_query_is_none(gateway: Site) -> None:
    ask(gateway.url, "GET", f"/v1/agents?access_token={gateway.token()}&jwt={gateway.token()}").is_problem(401)
