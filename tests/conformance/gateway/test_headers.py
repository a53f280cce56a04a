"""Headers: what a client must not choose does not arrive, and every answer has what it should."""

from __future__ import annotations

import re

import pytest

from tests.conformance.gateway.conftest import ask
from tests.conformance.gateway.site import Site

FORGED = {
    "X-Tenant-Id": "evil",
    "X_Tenant_Id": "evil",
    "x-tenant-id ": "evil",
    "X-User-Id": "evil",
    "X-User-Roles": "admin",
    "X-Auth-Client": "evil",
    "X-Consumer-ID": "evil",
    "X-Consumer-Username": "evil",
    "X-Credential-Identifier": "evil",
    "X-Authenticated-Groups": "evil",
    "X-Userinfo": "evil",
    "X-Access-Token": "evil",
    "X-Forwarded-For": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;host=evil",
    "X-Request-ID": "evil",
}


def test_a_client_does_not_say_who_it_is(echoing: Site) -> None:
    forged = {name: value for name, value in FORGED.items() if not name.endswith(" ")}
    answer = ask(echoing.echo_url, "GET", "/v1/agents", {**forged, **echoing.bearer()})
    arrived = answer.json["headers"]
    for name, values in arrived.items():
        assert "evil" not in ",".join(values), name
        assert "6.6.6.6" not in ",".join(values), name
    for name in ("x-tenant-id", "x-user-id", "x-user-roles", "x-auth-client"):
        assert len(arrived[name]) == 1
    assert arrived["x-user-roles"] == ["operator,user"]


def test_a_header_name_with_a_space_is_refused_or_dropped(echoing: Site) -> None:
    answer = ask(echoing.echo_url, "GET", "/v1/agents", {"X-Tenant-Id ": "evil", **echoing.bearer()})
    assert answer.status == 400 or "evil" not in str(answer.json["headers"])


def test_every_answer_has_a_request_id_of_its_own(gateway: Site, echoing: Site) -> None:
    seen = set()
    for path, headers in (("/v1/agents", gateway.bearer()), ("/v1/agents", {}), ("/metrics", {}), ("/v1/version", {})):
        answer = ask(gateway.url, "GET", path, {"X-Request-ID": "mine", **headers})
        seen.add(answer.header("X-Request-ID"))
    assert len(seen) == 4
    assert all(re.fullmatch(r"[0-9a-f-]{36}", found) for found in seen)
    answer = ask(echoing.echo_url, "GET", "/v1/agents", echoing.bearer())
    assert answer.json["headers"]["x-request-id"] == [answer.header("X-Request-ID")]


@pytest.mark.parametrize(
    "path", ["/v1/agents", "/v1/nothing", "/metrics", "/realms/agent-runtime/.well-known/openid-configuration"]
)
def test_every_answer_has_security_headers(gateway: Site, path: str) -> None:
    answer = ask(gateway.url, "GET", path, gateway.bearer())
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Strict-Transport-Security")
    assert answer.header("Referrer-Policy")
    assert "server" not in answer.headers or "/" not in answer.header("Server")
    assert "via" not in answer.headers
    if path.startswith("/v1"):
        assert answer.header("Cache-Control") == "no-store"
        assert "default-src 'none'" in answer.header("Content-Security-Policy")


def test_only_the_console_may_be_a_page_that_calls_the_api(gateway: Site) -> None:
    if gateway.console is None:
        pytest.skip("GATEWAY_CONSOLE_URL is not set")
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = ask(gateway.url, "OPTIONS", "/v1/runs", {"Origin": gateway.console, **wanted})
    assert preflight.status == 200
    assert preflight.header("Access-Control-Allow-Origin") == gateway.console
    assert "POST" in preflight.header("Access-Control-Allow-Methods")
    assert "access-control-allow-credentials" not in preflight.headers
    for origin in ("https://evil.example", "null", f"{gateway.console}.evil.example"):
        answer = ask(gateway.url, "GET", "/v1/agents", {"Origin": origin, **gateway.bearer()})
        assert answer.headers.get("access-control-allow-origin", [""])[0] not in (origin, "*")
