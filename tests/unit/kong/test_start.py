"""kong/start.sh: what Kong is started with, and that it is not started with half of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fixtures.kong.rendering import EVERYTHING, KONG, LUA

pytestmark = pytest.mark.skipif(LUA is None, reason="needs luajit or lua5.1; `.ci/run` installs it")


def start(directory: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """With a program in Kong's place that tells its arguments and its environment."""
    entry = directory / "entry.sh"
    entry.write_text('#!/bin/sh\necho "arguments: $*"\nenv\n')
    entry.chmod(0o755)
    own = {
        "PATH": "/usr/bin:/bin",
        "GATEWAY_HOME": str(KONG),
        "GATEWAY_LUA": str(LUA),
        "GATEWAY_ENTRY": str(entry),
        "KONG_DECLARATIVE_CONFIG": str(directory / "kong.yml"),
    }
    return subprocess.run(
        ["/bin/sh", str(KONG / "start.sh")], env={**own, **environment}, capture_output=True, text=True, check=False
    )


def test_kong_is_started_without_database_administration_or_secrets(tmp_path: Path) -> None:
    (tmp_path / "kong.yml").write_text("left over")
    (tmp_path / "kong.yml").chmod(0o644)
    started = start(tmp_path, {**EVERYTHING, "REDIS_PASSWORD": "only-in-the-file", "REDIS_CA_FILE": "/ca.pem"})
    assert started.returncode == 0, started.stderr
    lines = started.stdout.splitlines()
    assert lines[0] == "arguments: kong docker-start"
    for line in (
        "KONG_DATABASE=off",
        "KONG_ADMIN_LISTEN=off",
        "KONG_ANONYMOUS_REPORTS=off",
        "KONG_PLUGINS=bundled,problem-details,keycloak-jwt",
        "KONG_NGINX_PROXY_UNDERSCORES_IN_HEADERS=off",
        "KONG_NGINX_PROXY_MORE_CLEAR_INPUT_HEADERS=X-Forwarded-For Forwarded X-Request-ID",
        "KONG_LUA_SSL_TRUSTED_CERTIFICATE=system,/ca.pem",
    ):
        assert line in lines
    assert "only-in-the-file" not in started.stdout
    written = tmp_path / "kong.yml"
    assert "only-in-the-file" in written.read_text()
    assert written.stat().st_mode & 0o077 == 0


def test_production_refuses_the_secrets_for_development(tmp_path: Path) -> None:
    known = {**EVERYTHING, "REDIS_PASSWORD": "development-only-redis"}
    assert start(tmp_path, known).returncode == 0
    refused = start(tmp_path, {**known, "DEPLOYMENT": "production"})
    assert refused.returncode == 1
    assert "development" in refused.stderr
    assert start(tmp_path, {**EVERYTHING, "DEPLOYMENT": "production"}).returncode == 0


def test_access_logs_have_no_query(tmp_path: Path) -> None:
    """A sign-in carries its code there."""
    lines = start(tmp_path, dict(EVERYTHING)).stdout.splitlines()
    form = next(line for line in lines if line.startswith("KONG_NGINX_HTTP_LOG_FORMAT="))
    assert "$uri" in form
    for leaking in ("$request ", '$request"', "$request_uri", "$args", "$query_string", "$http_", "$is_args"):
        assert leaking not in form
    assert "KONG_PROXY_ACCESS_LOG=/dev/stdout gateway" in lines


def test_a_missing_variable_ends_the_start(tmp_path: Path) -> None:
    started = start(tmp_path, {name: value for name, value in EVERYTHING.items() if name != "OIDC_ISSUER"})
    assert started.returncode != 0
    assert "OIDC_ISSUER is not set" in started.stderr
    assert "arguments" not in started.stdout
