"""Who is let through, and what those are told who are not."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from tests.conformance.gateway.conftest import ask
from tests.conformance.gateway.site import Site


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, claims, signature = token.split(".")
    return _decoded(header), _decoded(claims), signature


def _decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("who", ["operator", "user", "other"])
def test_members_of_a_tenant_reach_the_api(gateway: Site, who: str) -> None:
    answer = ask(gateway.url, "GET", "/v1/agents", gateway.bearer(who))
    assert answer.status == 200
    assert "items" in answer.json


def test_an_administrator_without_a_tenant_reaches_the_api(gateway: Site) -> None:
    assert ask(gateway.url, "GET", "/v1/tenants", gateway.bearer("admin")).status == 200
    ask(gateway.url, "GET", "/v1/agents", gateway.bearer("admin")).is_problem(403, "forbidden")


def test_the_version_is_for_everybody(gateway: Site) -> None:
    assert ask(gateway.url, "GET", "/v1/version").json["api"] == "v1"


def test_without_a_token(gateway: Site) -> None:
    answer = ask(gateway.url, "GET", "/v1/agents")
    answer.is_problem(401, "unauthenticated")
    assert answer.header("WWW-Authenticate") == 'Bearer realm="api"'
    assert answer.header("Cache-Control") == "no-store"


def test_two_authorization_headers(gateway: Site) -> None:
    both = [("Authorization", f"Bearer {gateway.token()}"), ("Authorization", f"Bearer {gateway.token('other')}")]
    assert ask(gateway.url, "GET", "/v1/agents", both).status in (400, 401)


def forged(gateway: Site) -> dict[str, tuple[str, str]]:
    """Made of a good token, without its key: the token and what is said about it."""
    token = gateway.token()
    header, claims, signature = parts_of(token)
    good = token.rpartition(".")[0]

    def with_header(**changes: Any) -> str:
        return f"{encoded({**header, **changes})}.{encoded(claims)}.{signature}"

    def with_claims(**changes: Any) -> str:
        return f"{encoded(header)}.{encoded({**claims, **changes})}.{signature}"

    return {
        "no JWT": ("abc", "malformed bearer token"),
        "two parts": (good, "malformed bearer token"),
        "no signature": (f"{good}.", "malformed bearer token"),
        "another signature": (f"{good}.{signature[:-8]}{'A' * 8}", "bad signature"),
        "padding": (f"{token}=", "malformed bearer token"),
        "no JSON": (f"{'a' * 20}.{'b' * 20}.{signature}", "malformed token"),
        "alg none": (f"{encoded({**header, 'alg': 'none'})}.{encoded(claims)}.", "malformed bearer token"),
        "alg none, signed": (with_header(alg="none"), "algorithm not allowed"),
        "alg HS256": (with_header(alg="HS256"), "algorithm not allowed"),
        "jku": (with_header(jku="http://127.0.0.1:1/keys"), "header not allowed"),
        "jwk": (with_header(jwk={"kty": "RSA"}), "header not allowed"),
        "x5u": (with_header(x5u="http://127.0.0.1:1/x"), "header not allowed"),
        "crit": (with_header(crit=["exp"]), "unknown critical header"),
        "no kid": (with_header(kid=None), "no key id"),
        "unknown kid": (with_header(kid="0" * 32), "unknown key"),
        "kid as a path": (with_header(kid="../../dev/null"), "unknown key"),
        "another issuer": (with_claims(iss="https://evil.example"), "wrong issuer"),
        "another tenant": (with_claims(tenant_id="somebody-else"), "bad signature"),
        "another subject": (with_claims(sub="somebody-else"), "bad signature"),
        "administrator": (with_claims(realm_access={"roles": ["admin"]}), "bad signature"),
        "huge": (f"{good}.{'a' * 9000}", "token too long"),
    }


def test_a_forged_token_is_refused_whatever_it_says(gateway: Site) -> None:
    for name, (token, said) in forged(gateway).items():
        answer = ask(gateway.url, "GET", "/v1/agents", {"Authorization": f"Bearer {token}"})
        answer.is_problem(401, "unauthenticated")
        assert f'error_description="{said}"' in answer.header("WWW-Authenticate"), name
    for scheme in ("Basic", "Digest", "Token"):
        headers = {"Authorization": f"{scheme} {gateway.token()}"}
        ask(gateway.url, "GET", "/v1/agents", headers).is_problem(401)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aud": "account"}, "wrong audience"),
        ({"aud": None}, "wrong audience"),
        ({"typ": "ID"}, "not an access token"),
        ({"typ": "Refresh"}, "not an access token"),
        ({"exp": int(time.time()) - 60}, "token expired"),
        ({"exp": "9999999999"}, "token expired"),
        ({"exp": None}, "token expired"),
        ({"nbf": int(time.time()) + 600}, "token not yet valid"),
        ({"iss": "http://127.0.0.1/realms/master"}, "wrong issuer"),
        ({"sub": None}, "no subject"),
    ],
)
def test_a_token_of_the_issuer_that_is_not_for_the_api(gateway: Site, changes: dict[str, Any], said: str) -> None:
    if gateway.mint is None:
        pytest.skip("needs an issuer that signs whatever it is told; tests/conformance/keycloak has the real one's")
    token = gateway.mint(role="operator", tenant="gate-1", claims=changes)
    answer = ask(gateway.url, "GET", "/v1/agents", {"Authorization": f"Bearer {token}"})
    answer.is_problem(401)
    assert f'error_description="{said}"' in answer.header("WWW-Authenticate")


def test_without_a_tenant_only_administrators_and_service_accounts_pass(echoing: Site) -> None:
    if echoing.mint is None:
        pytest.skip("needs an issuer that signs whatever it is told")

    def asked(**token: Any) -> Any:
        assert echoing.mint
        headers = {"Authorization": f"Bearer {echoing.mint(tenant=None, **token)}"}
        return ask(echoing.echo_url, "GET", "/v1/agents", headers)

    refused = asked(role="operator")
    refused.is_problem(403, "forbidden")
    assert 'error="insufficient_scope"' in refused.header("WWW-Authenticate")
    account = asked(role="user", client="build-0a1b", claims={"client_id": "build-0a1b"}).json["headers"]
    assert account["x-auth-client"] == ["build-0a1b"]
    assert "x-tenant-id" not in account
    assert "x-tenant-id" not in asked(role="admin").json["headers"]
