"""Logins of the command line: who confirms in a browser is who the commands act as, in however many processes."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import keyring
import pytest
from agent_runtime import Unusable
from typer.testing import CliRunner, Result

from deploy.embedded.issuer import Issuer
from deploy.embedded.ports import Ports
from deploy.embedded.realm import CONFIRM_PATH
from deploy.embedded.state import StateDirectory
from services.cli import login as login_module
from services.cli.access import Access
from services.cli.login_store import Login, LoginStore
from services.cli.login_token import LoginToken
from services.cli.main import app
from services.cli.oauth import LoginEnded, Tokens, check_safe, discover, renew

API = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    state = StateDirectory(tmp_path_factory.mktemp("issuer") / "state")
    state.open()
    running = Issuer(state, Ports(state.path / "ports.json"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoginStore:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return LoginStore()


def confirming(issuer: Issuer, username: str, answer: str) -> Callable[[Any, bool], None]:
    """A person who sees the code and answers; stands where the command prints."""
    password = (issuer._state.path / "secrets/login-password").read_text()

    def show(device: Any, as_json: bool) -> None:
        form = {"user_code": device.user_code, "username": username, "password": password, answer: "yes"}
        threading.Thread(
            target=httpx.post, args=(f"http://{issuer.address}{CONFIRM_PATH}",), kwargs={"data": form}
        ).start()

    return show


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["--api-url", API, *arguments], env={"AGENT_RUNTIME_TOKEN": ""})


@pytest.fixture
def logged_in(issuer: Issuer, store: LoginStore, monkeypatch: pytest.MonkeyPatch) -> Login:
    monkeypatch.setattr(login_module, "_show", confirming(issuer, "demo-operator", "accept"))
    done = command("login", "--no-browser", "--issuer", issuer.url, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["username"] == "demo-operator"
    found = store.find(API)
    assert found
    return found


def aged(store: LoginStore, login: Login) -> Login:
    """The same login, with an access token that has ended."""
    old = replace(login, tokens=replace(login.tokens, expires_at=time.time() - 1))
    store.keep(old)
    return old


def test_who_confirms_is_who_the_commands_act_as(logged_in: Login) -> None:
    about = json.loads(command("whoami", "--json").stdout)
    assert (about["username"], about["tenant"], about["roles"]) == ("demo-operator", "demo", ["operator", "user"])
    assert about["token_from"] == "the login"
    without_address = CliRunner().invoke(app, ["whoami", "--json"], env={"AGENT_RUNTIME_TOKEN": ""})
    assert json.loads(without_address.stdout)["api_url"] == API, "the last login says which API is meant"


def test_a_login_that_is_not_allowed(issuer: Issuer, store: LoginStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_module, "_show", confirming(issuer, "demo-operator", "deny"))
    done = command("login", "--no-browser", "--issuer", issuer.url)
    assert done.exit_code == 3
    assert "not allowed" in done.stderr
    assert store.find(API) is None


def test_only_its_user_reads_the_file(logged_in: Login, store: LoginStore) -> None:
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    files = [path for path in store.directory.iterdir() if path.suffix == ".json"]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()} == {0o600}
    holding = next(path for path in files if logged_in.tokens.refresh_token in path.read_text())
    holding.chmod(0o640)
    with pytest.raises(Unusable, match="can be read by others"):
        store.find(API)
    assert command("whoami").exit_code == 2


def test_many_at_once_use_a_refresh_token_once(logged_in: Login, store: LoginStore) -> None:
    """Each its own store and token, as processes have; a second use would end the session."""
    for _ in range(3):
        old = aged(store, store.find(API) or logged_in)
        with ThreadPoolExecutor(12) as pool:
            tokens = set(pool.map(lambda _, old=old: LoginToken(LoginStore(), old)(), range(12)))
        assert len(tokens) == 1
        assert tokens.isdisjoint({old.tokens.access_token})


def test_a_login_that_has_ended_says_what_to_do(logged_in: Login, store: LoginStore) -> None:
    renew(logged_in.token_endpoint, logged_in.tokens.refresh_token)
    aged(store, logged_in)
    done = command("whoami")
    assert done.exit_code == 3
    assert "agent-runtime login" in done.stderr
    assert logged_in.tokens.refresh_token not in done.output


def test_logging_out_ends_the_session(logged_in: Login, store: LoginStore) -> None:
    assert json.loads(command("logout", "--json").stdout) == {"logged_out": True, "revoked": True, "api_url": API}
    with pytest.raises(LoginEnded):
        renew(logged_in.token_endpoint, logged_in.tokens.refresh_token)
    assert store.find(API) is None
    assert store.current() is None
    with pytest.raises(LoginEnded):
        LoginToken(store, replace(logged_in, tokens=replace(logged_in.tokens, expires_at=0)))()
    assert json.loads(command("logout", "--json").stdout) == {"logged_out": False}


def test_logging_out_without_the_issuer_forgets_and_says_so(logged_in: Login, store: LoginStore) -> None:
    store.keep(replace(logged_in, revocation_endpoint="http://127.0.0.1:9/revoke"))
    done = command("logout")
    assert done.exit_code == 4
    assert "not at the issuer" in done.stderr
    assert store.find(API) is None


class Keyring:
    """A keyring that works, or one that breaks when it is to keep something."""

    priority = 5

    def __init__(self, *, broken: bool = False) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self._broken = broken

    def set_password(self, service: str, name: str, password: str) -> None:
        if self._broken:
            raise RuntimeError("locked")
        self.kept[service, name] = password

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


LOGIN = Login(API, "http://127.0.0.1:1", "http://127.0.0.1:1/t", "http://127.0.0.1:1/r", Tokens("acc", "s3cret-r", 9e9))


def test_a_keyring_keeps_the_tokens(store: LoginStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: ring)
    assert store.keep(LOGIN) == "the keyring"
    assert not any("s3cret-r" in path.read_text() for path in store.directory.iterdir())
    assert store.find(API + "/") == LOGIN
    store.forget(API)
    assert ring.kept == {}


def test_a_keyring_that_breaks_is_none(store: LoginStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "get_keyring", lambda: Keyring(broken=True))
    assert store.keep(LOGIN).endswith(".json")
    assert store.find(API) == LOGIN


def test_a_token_that_is_given_goes_before_the_login(store: LoginStore, tmp_path: Path) -> None:
    store.keep(LOGIN, current=True)
    path = tmp_path / "token"
    path.write_text("from-a-file")
    assert Access(api_url=API).token_in_use() == ("the login", "acc")
    assert Access().token_in_use() == ("the login", "acc")
    assert Access(api_url=API, token="given").token_in_use() == ("AGENT_RUNTIME_TOKEN", "given")
    assert Access(api_url=API, token="given", token_file=path).token_in_use() == (str(path), "from-a-file")
    with pytest.raises(LoginEnded):
        Access(api_url="http://127.0.0.1:10").token_in_use()


def test_what_names_the_embedded_stack_means_it(store: LoginStore, tmp_path: Path) -> None:
    store.keep(LOGIN, current=True)
    for access in (Access(state_dir=tmp_path), Access(state_dir=tmp_path, role="admin")):
        assert access.login() is None


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example/realms/x", "ftp://issuer.example", "https://me:pw@issuer.example", "issuer", "http://["],
)
def test_no_login_travels_in_the_clear(url: str) -> None:
    with pytest.raises(Unusable):
        check_safe(url)


def test_an_issuer_must_be_the_one_it_says(issuer: Issuer) -> None:
    assert discover(issuer.url).issuer == issuer.url
    with pytest.raises(Exception, match="says that it is"):
        discover(issuer.url + "/")
    with pytest.raises(LoginEnded):
        renew(f"{issuer.url}/protocol/openid-connect/token", "x.y")
