"""The check of logs finds each kind of secret that a stack has, and fails the session."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fixtures import secrecy

PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", "MIIE" * 16, "abcd" * 16, "efgh" * 16, "-----END PRIVATE KEY-----"])
SECRETS = {
    "valkey": "k4DqP0w2dZkQeJx1lVtY",
    "keys-of-secrets": "k1:b64keyb64keyb64keyb64key=",
    "clients.json": json.dumps({"demo": {"secret": "clientsecretclientsecret", "role": "operator", "tenant": "demo"}}),
    "issuer.pem": PEM,
    "s3-access-key": "AKIDAKIDAKIDAKID",
}
TOKEN = f"eyJ{'a' * 20}.eyJ{'b' * 40}.{'c' * 86}"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(secrecy.SESSION, str(tmp_path))
    for folder in ("secrets", "logs"):
        (tmp_path / "stack" / folder).mkdir(parents=True)
    for name, content in SECRETS.items():
        (tmp_path / "stack" / "secrets" / name).write_text(content + "\n")
    (tmp_path / "stack" / "logs" / "api.log").write_text("a run of tenant demo by an operator, key AKIDAKIDAKIDAKID\n")
    return tmp_path / "stack"


def test_a_clean_log_passes(state: Path) -> None:
    logs, secrets = secrecy.check(state)
    assert (logs, secrets) == (1, 5)  # two lines of the key


@pytest.mark.parametrize(
    "leaked",
    [SECRETS["valkey"], "b64keyb64keyb64keyb64key=", "clientsecretclientsecret", "abcd" * 16, TOKEN, "noted-in-a-test"],
)
def test_each_kind_of_secret_is_found(state: Path, leaked: str) -> None:
    secrecy.note("a test's", "noted-in-a-test")
    (state / "logs" / "worker.log").write_bytes(b"\xff before " + leaked.encode() + b" after")
    with pytest.raises(AssertionError, match=r"worker\.log holds") as failed:
        secrecy.check(state)
    assert leaked not in str(failed.value)


def test_logs_elsewhere_are_looked_at_too(state: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "w1.log").write_text(PEM)
    with pytest.raises(AssertionError, match=r"w1\.log holds a private key"):
        secrecy.check(state, tmp_path / "more")


@pytest.mark.parametrize(("leaked", "status"), [("", 0), (TOKEN, 1)])
def test_a_leak_fails_the_session(state: Path, leaked: str, status: int) -> None:
    (state / "logs" / "api.log").write_text(leaked)
    config: Any = SimpleNamespace(stash=pytest.Stash())
    session: Any = SimpleNamespace(config=config, exitstatus=0)
    secrecy.pytest_sessionfinish(session)
    assert session.exitstatus == status
    assert bool(config.stash[secrecy.FOUND]) == bool(leaked)
