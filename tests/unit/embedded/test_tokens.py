"""Tokens of the embedded issuer: claims as Keycloak writes them, and the endpoint that gives them."""

from __future__ import annotations

import base64
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from jose import jwt
from starlette.applications import Starlette

from deploy.embedded.failures import UnknownRole
from deploy.embedded.issuer_app import make_app
from deploy.embedded.realm import DISCOVERY_PATH, KEYS_PATH, TOKEN_PATH, issuer_at
from deploy.embedded.registrations import Clients
from deploy.embedded.state import StateDirectory, write_json
from deploy.embedded.tokens import AUDIENCE, TokenSigner
from deploy.embedded.users import Users

ISSUER = issuer_at(15_000)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateDirectory:
    made = StateDirectory(tmp_path_factory.mktemp("issuer") / "state")
    made.open()
    return made


@pytest.fixture(scope="module")
def signer(state: StateDirectory) -> TokenSigner:
    return TokenSigner(state, ISSUER)


def verified(signer: TokenSigner, token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, signer.key_set(), algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)
    return claims


def test_an_operator_is_also_a_user_of_the_tenant(signer: TokenSigner) -> None:
    claims = verified(signer, signer.mint(role="operator", tenant="demo", subject="ada"))
    assert claims["realm_access"]["roles"] == ["operator", "user"]
    assert claims["tenant_id"] == "demo"
    assert claims["preferred_username"] == "ada"
    assert claims["typ"] == "Bearer"
    assert claims["exp"] - claims["iat"] == 300


def test_an_administrator_has_no_tenant(signer: TokenSigner) -> None:
    claims = verified(signer, signer.mint(role="admin"))
    assert "tenant_id" not in claims
    assert claims["realm_access"]["roles"] == ["admin"]


def test_a_name_has_one_sub_per_tenant(signer: TokenSigner) -> None:
    def sub(tenant: str) -> str:
        return str(verified(signer, signer.mint(role="user", tenant=tenant, subject="ada"))["sub"])

    assert sub("demo") == sub("demo") != sub("other")


def test_the_key_outlives_the_process(signer: TokenSigner, tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    first = TokenSigner(state, ISSUER)
    assert verified(TokenSigner(state, ISSUER), first.mint(role="user", tenant="demo"))
    assert first.key_set() != signer.key_set()


def test_an_unknown_role_is_refused(signer: TokenSigner) -> None:
    with pytest.raises(UnknownRole, match="admin, operator, user"):
        signer.mint(role="root")


async def ask(app: Starlette, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
    """One request to the application, without a server."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": method, "path": path, "query_string": b"", "headers": raw}, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def app(signer: TokenSigner, state: StateDirectory) -> Starlette:
    known = {"demo-operator": {"secret": "s3cret", "role": "operator", "tenant": "demo"}}
    write_json(state.path / "secrets/clients.json", known)
    return make_app(signer, Clients(state), Users(state), "http://127.0.0.1:15000")


async def test_discovery_leads_to_the_keys(app: Starlette, signer: TokenSigner) -> None:
    status, discovery = await ask(app, "GET", DISCOVERY_PATH)
    assert status == 200
    assert discovery["issuer"] == ISSUER
    assert discovery["jwks_uri"].endswith(KEYS_PATH)
    assert await ask(app, "GET", KEYS_PATH) == (200, signer.key_set())


async def test_a_client_gets_a_token_by_form_or_header(app: Starlette, signer: TokenSigner) -> None:
    form = b"grant_type=client_credentials&client_id=demo-operator&client_secret=s3cret"
    basic = base64.b64encode(b"demo-operator:s3cret").decode()
    for status, answer in (
        await ask(app, "POST", TOKEN_PATH, form),
        await ask(app, "POST", TOKEN_PATH, b"grant_type=client_credentials", authorization=f"Basic {basic}"),
    ):
        assert status == 200
        assert answer["token_type"] == "Bearer"
        claims = verified(signer, answer["access_token"])
        assert claims["azp"] == "demo-operator"
        assert claims["preferred_username"] == "service-account-demo-operator"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (b"", 400),
        (b"grant_type=password&username=a&password=b", 400),
        (b"grant_type=client_credentials", 401),
        (b"grant_type=client_credentials&client_id=demo-operator&client_secret=wrong", 401),
        (b"grant_type=client_credentials&client_id=nobody&client_secret=s3cret", 401),
        (b"\xff\xfe" * 20_000, 400),
    ],
)
async def test_others_get_none(app: Starlette, form: bytes, status: int) -> None:
    assert (await ask(app, "POST", TOKEN_PATH, form))[0] == status


async def test_a_header_that_is_no_basic_one_is_no_error(app: Starlette) -> None:
    for header in ("Basic %%%", "Basic", "Bearer abc", "Basic /w=="):
        status, _ = await ask(app, "POST", TOKEN_PATH, b"grant_type=client_credentials", authorization=header)
        assert status == 401
