"""The scan of the repository finds each kind of secret, and says when more is allowed than needs to be."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci" / "scan_secrets.py"
RANDOM = "q7Zk2mXv9RtLw4Np" + "B8sYc1Gd"
# In pieces, so that this file holds none.
PLANTED = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA7" * 3,
    "signed token": f"eyJ{'a' * 20}" + f".eyJ{'b' * 20}.{'c' * 43}",
    "AWS key": "AKIA" + "Q3EXAMPLEQ3EXAMP",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "model provider's key": "sk-" + "proj-" + "a1B2" * 6,
    "Slack token": "xoxb-" + "123456789012-abc",
    "password in a URL": "postgresql://app:" + "hunter22@db/name",
    "random value under a secret's name": "client_" + f'secret = "{RANDOM}"',
}
HARMLESS = (
    'password = "${DATABASE_PASSWORD}"',
    'password_file = "/run/secrets/database-password"',
    "postgresql://USER@HOST:PORT/NAME",
    "http://api:8080/v1 and mail@example.com",
    'token_url = "https://id.example.com/realms/x/token"',
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)


@pytest.fixture(scope="module")
def scan() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scan_secrets", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", PLANTED)
def test_each_kind_is_found(scan: ModuleType, kind: str) -> None:
    found = list(scan.findings("file", f"first line\nx {PLANTED[kind]} y"))
    assert [(finding.place, finding.kind) for finding in found] == [("file:2", kind)]
    assert PLANTED[kind] not in str(found[0])


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_one_is_not(scan: ModuleType, text: str) -> None:
    assert list(scan.findings("file", text)) == []


def test_a_repository_is_looked_at_with_its_past(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        own = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run(["git", *own, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def looked(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPT), "--root", str(tmp_path), *more], capture_output=True, text=True, check=False
        )

    git("init", "-q")
    (tmp_path / "settings.py").write_text(PLANTED["AWS key"])
    assert looked().returncode == 1
    git("add", "-A")
    git("commit", "-qm", "a secret")
    (tmp_path / "settings.py").write_text("")
    git("add", "-A")
    git("commit", "-qm", "taken out again")
    assert looked().returncode == 0
    past = looked("--history")
    assert past.returncode == 1
    assert "settings.py:1: AWS key" in past.stderr
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "secrets-allowed.txt").write_text(f"{PLANTED['AWS key']}  # withdrawn\n")
    assert looked("--history").returncode == 0
    (tmp_path / ".ci" / "secrets-allowed.txt").write_text(f"{PLANTED['AWS key']}  # withdrawn\nother  # no more\n")
    assert "nothing needs other" in looked("--history").stderr
    (tmp_path / ".ci" / "secrets-allowed.txt").write_text(f"{PLANTED['AWS key']}\n")
    assert "without its reason" in looked("--history").stderr
