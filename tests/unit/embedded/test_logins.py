"""Logins at the embedded issuer: who says yes gets a program its tokens, and a refresh token is good once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from jose import jwt

from deploy.embedded import sessions as sessions_module
from deploy.embedded.issuer_app import make_app
from deploy.embedded.realm import AUTHORIZE_PATH, CLI_CLIENT, CONFIRM_PATH, DEVICE_PATH, REVOKE_PATH, TOKEN_PATH
from deploy.embedded.registrations import Clients
from deploy.embedded.sessions import challenge_of
from deploy.embedded.state import StateDirectory
from deploy.embedded.token_endpoint import DEVICE_GRANT
from deploy.embedded.tokens import TokenSigner
from deploy.embedded.users import User, Users

SERVER = "http://127.0.0.1:15000"
VERIFIER = "v" * 43


@pytest.fixture
def users(tmp_path: Path) -> Users:
    state = StateDirectory(tmp_path / "state")
    state.open()
    return Users(state)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> TokenSigner:
    state = StateDirectory(tmp_path_factory.mktemp("issuer") / "state")
    state.open()
    return TokenSigner(state, SERVER)


@pytest.fixture
async def http(
    users: Users, signer: TokenSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(sessions_module, "POLL_SECONDS", 0)
    app = make_app(signer, Clients(StateDirectory(tmp_path / "state")), users, SERVER)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SERVER) as client:
        yield client


async def begin(http: httpx.AsyncClient) -> dict[str, Any]:
    form = {
        "client_id": CLI_CLIENT,
        "scope": "openid",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    answer: dict[str, Any] = (await http.post(DEVICE_PATH, data=form)).json()
    return answer


async def poll(http: httpx.AsyncClient, device: dict[str, Any], verifier: str = VERIFIER) -> Any:
    form = {"client_id": CLI_CLIENT, "device_code": device["device_code"], "code_verifier": verifier}
    return (await http.post(TOKEN_PATH, data={"grant_type": DEVICE_GRANT, **form})).json()


async def confirm(http: httpx.AsyncClient, device: dict[str, Any], username: str, password: str) -> httpx.Response:
    assert (await http.get(device["verification_uri_complete"])).status_code == 200
    form = {"user_code": device["user_code"], "username": username, "password": password, "accept": "yes"}
    return await http.post(CONFIRM_PATH, data=form)


async def logged_in(http: httpx.AsyncClient, users: Users, username: str = "demo-operator") -> Any:
    device = await begin(http)
    assert (await confirm(http, device, username, users.password_file.read_text())).status_code == 200
    return await poll(http, device)


async def refresh(http: httpx.AsyncClient, token: str) -> Any:
    form = {"grant_type": "refresh_token", "client_id": CLI_CLIENT, "refresh_token": token}
    return (await http.post(TOKEN_PATH, data=form)).json()


async def test_a_device_waits_for_a_person(http: httpx.AsyncClient, users: Users) -> None:
    device = await begin(http)
    assert (await poll(http, device))["error"] == "authorization_pending"
    assert "wrong" in (await confirm(http, device, "demo-user", "guess")).text
    assert (await poll(http, device))["error"] == "authorization_pending"
    await confirm(http, device, "demo-user", users.password_file.read_text())
    assert (await poll(http, device, "w" * 43))["error"] == "invalid_grant"
    tokens = await poll(http, device)
    claims = jwt.get_unverified_claims(tokens["access_token"])
    assert (claims["preferred_username"], claims["tenant_id"], claims["azp"]) == ("demo-user", "demo", CLI_CLIENT)
    own = jwt.get_unverified_claims(tokens["id_token"])
    assert (own["typ"], own["aud"], own["sub"]) == ("ID", CLI_CLIENT, claims["sub"])
    assert (await poll(http, device))["error"] == "invalid_grant", "a device code is good once"


async def test_a_person_may_say_no(http: httpx.AsyncClient) -> None:
    device = await begin(http)
    await http.post(CONFIRM_PATH, data={"user_code": device["user_code"], "deny": "yes"})
    assert (await poll(http, device))["error"] == "access_denied"
    assert (await http.get(CONFIRM_PATH, params={"user_code": device["user_code"]})).status_code == 400
    assert (await http.get(CONFIRM_PATH)).status_code == 200


async def test_who_polls_too_often_is_told(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    device = await begin(http)
    await poll(http, device)
    monkeypatch.setattr(sessions_module, "POLL_SECONDS", 5)
    assert (await poll(http, device))["error"] == "slow_down"


async def test_a_device_code_ends(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "DEVICE_SECONDS", -1)
    device = await begin(http)
    assert (await poll(http, device))["error"] == "expired_token"


async def test_a_refresh_token_is_good_once(http: httpx.AsyncClient, users: Users) -> None:
    first = await logged_in(http, users)
    second = await refresh(http, first["refresh_token"])
    assert second["access_token"] != first["access_token"]
    assert (await refresh(http, first["refresh_token"]))["error"] == "invalid_grant"
    assert (await refresh(http, second["refresh_token"]))["error"] == "invalid_grant", "the session is over"


async def test_a_session_ends_with_its_user_and_by_its_user(http: httpx.AsyncClient, users: Users) -> None:
    users.keep(User("5", "eve", "user", "demo").with_password("her own password"))
    device = await begin(http)
    await confirm(http, device, "eve", "her own password")
    tokens = await poll(http, device)
    users.remove("eve")
    assert "error" in await refresh(http, tokens["refresh_token"])
    tokens = await logged_in(http, users)
    await http.post(REVOKE_PATH, data={"token": tokens["refresh_token"], "client_id": CLI_CLIENT})
    assert "error" in await refresh(http, tokens["refresh_token"])


async def test_users_are_kept(users: Users, tmp_path: Path) -> None:
    users.keep(User("5", "eve", "user", "demo").with_password("her own password"))
    again = Users(StateDirectory(tmp_path / "state"))
    assert again.authenticate("eve", "her own password") == users.find("eve")
    assert again.authenticate("eve", users.password_file.read_text()) is None
    assert "her own password" not in (tmp_path / "state/secrets/users.json").read_text()


async def test_a_code_goes_back_to_this_machine_only(http: httpx.AsyncClient, users: Users) -> None:
    asked = {
        "client_id": CLI_CLIENT, "redirect_uri": "http://127.0.0.1:4242/callback", "response_type": "code",
        "scope": "openid", "state": "s&t", "nonce": "n", "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }  # fmt: skip
    assert (await http.get(AUTHORIZE_PATH, params=asked)).status_code == 200
    for wrong in (
        {"redirect_uri": "http://evil.example/callback"}, {"redirect_uri": "http://127.0.0.1:1/callback?x"},
        {"client_id": "x"}, {"response_type": "token"}, {"code_challenge_method": "plain"}, {"code_challenge": "é"},
    ):  # fmt: skip
        assert (await http.get(AUTHORIZE_PATH, params={**asked, **wrong})).status_code == 400
    login = {"username": "demo-operator", "password": users.password_file.read_text(), "accept": "yes"}
    sent_to = (await http.post(AUTHORIZE_PATH, data={**asked, **login})).headers["location"]
    answer = parse_qs(urlsplit(sent_to).query)
    assert answer["state"] == ["s&t"]
    form = {
        "grant_type": "authorization_code", "client_id": CLI_CLIENT, "code": answer["code"][0],
        "redirect_uri": asked["redirect_uri"], "code_verifier": VERIFIER,
    }  # fmt: skip
    tokens = (await http.post(TOKEN_PATH, data=form)).json()
    assert jwt.get_unverified_claims(tokens["id_token"])["nonce"] == "n"
    assert (await http.post(TOKEN_PATH, data=form)).json()["error"] == "invalid_grant", "a code is good once"
