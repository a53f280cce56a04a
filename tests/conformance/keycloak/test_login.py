"""The command line and the API with both issuers, as users have them: log in, work, log out, in several processes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.demo.browser import Browser
from tests.conformance.keycloak.grants import Person
from tests.conformance.keycloak.issuers import Issuer
from tests.fixtures.stack import TestServers

AGENT_RUNTIME = Path(sys.executable).with_name("agent-runtime")
MINE = ("AGENT_RUNTIME_TOKEN", "AGENT_RUNTIME_TOKEN_FILE", "AGENT_RUNTIME_API_URL", "AGENT_RUNTIME_STATE_DIR")


class CommandLine:
    """`agent-runtime` of one user, whose home is a directory of its own."""

    def __init__(self, api_url: str, home: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in MINE}
        self._environment = {**kept, "XDG_STATE_HOME": str(home), "AGENT_RUNTIME_API_URL": api_url}

    def run(self, *arguments: str, code: int = 0) -> Any:
        """What the command printed as JSON."""
        done = subprocess.run(
            [AGENT_RUNTIME, *arguments, "--json"],
            env=self._environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout or done.stderr)

    def log_in(self, person: Person) -> Any:
        """`login --no-browser`, with the browser of another machine."""
        command = [str(AGENT_RUNTIME), "login", "--no-browser", "--json"]
        with subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            asked = json.loads(process.stdout.readline())
            with Browser() as browser:
                browser.confirm(asked["verification_uri_complete"], person.username, person.password)
            answer = json.loads(process.stdout.readline())
            assert process.wait(30) == 0
        return answer

    def age(self) -> None:
        """Let the access token have ended, as far as the commands know."""
        for path in Path(self._environment["XDG_STATE_HOME"]).glob("agent-runtime/logins/*.json"):
            document = json.loads(path.read_text())
            if "tokens" in document:
                document["tokens"]["expires_at"] = time.time() - 1
                path.write_text(json.dumps(document))


@pytest.fixture
def api_url(servers: TestServers, issuer: Issuer) -> Iterator[str]:
    """Our API, believing this issuer; its tenants are there."""
    name = f"api-of-{issuer.name}"
    settings = {"OIDC_ISSUER": issuer.url, "OIDC_JWKS_URL": issuer.jwks_url}
    url = servers.stack.add_api(name, environment={**servers.environment, **settings})
    token = issuer.endpoints.device(issuer.people["admin"])["access_token"]
    admin = {"Authorization": f"Bearer {token}"}
    for slug in ("acme", "globex"):
        made = httpx.post(f"{url}/v1/tenants", json={"slug": slug}, headers=admin)
        assert made.status_code in (201, 409), made.text
    yield url
    servers.stack.stop_service(name)


@pytest.fixture
def command(api_url: str, tmp_path: Path) -> CommandLine:
    return CommandLine(api_url, tmp_path / "home")


def test_log_in_work_and_log_out(issuer: Issuer, command: CommandLine, api_url: str) -> None:
    person = issuer.people["operator"]
    said = command.log_in(person)
    assert (said["username"], said["tenant"], said["issuer"]) == (person.username, person.tenant, issuer.url)
    about = command.run("whoami")
    assert (about["subject"], sorted(about["roles"]), about["api_url"]) == (
        said["subject"],
        ["operator", "user"],
        api_url,
    )
    assert command.run("runs", "list")["items"] == []
    assert command.run("tenants", "list", code=3)["code"] == "forbidden"
    assert command.run("logout")["revoked"]
    assert command.run("runs", "list", code=3)["code"] == "unauthenticated"
    assert command.run("whoami", code=3)["code"] == "LoginEnded"


def test_several_processes_renew_one_login(issuer: Issuer, command: CommandLine) -> None:
    """A second use of a refresh token would end the session: then one of the later rounds would fail."""
    command.log_in(issuer.people["user"])
    for _ in range(2):
        command.age()
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: command.run("runs", "list"), range(4)))
        assert [answer["items"] for answer in answers] == [[]] * 4


def test_nobody_is_somebody_in_another_tenant(issuer: Issuer, api_url: str) -> None:
    """Through the API: the tenant is the token's, whatever else a request says."""
    slug = f"agent-{secrets.token_hex(4)}"
    mine, theirs = (
        {"Authorization": f"Bearer {issuer.endpoints.device(issuer.people[who])['access_token']}"}
        for who in ("operator", "other")
    )
    agent = {"slug": slug, "spec": {"model": "scripted/x", "instructions": "Help."}}
    assert httpx.post(f"{api_url}/v1/agents", json=agent, headers=mine).status_code == 201
    assert httpx.get(f"{api_url}/v1/agents/{slug}", headers=mine).status_code == 200
    for more in ({}, {"X-Tenant-Id": "acme"}, {"X-Userinfo": "acme"}):
        assert httpx.get(f"{api_url}/v1/agents/{slug}", headers={**theirs, **more}).status_code == 404
