"""The containers and images as they are, not as a file says: users, writes, secrets, sizes, signals."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from deploy.compose.production import SECRETS
from deploy.demo.containers import ComposeFailed
from libs.settings.environment import DEVELOPMENT_MARK
from tests.fixtures.compose.engine import docker
from tests.fixtures.compose.project import PUBLISHED, Installation
from tests.fixtures.compose.rendering import services

OURS = {"api": "agent-runtime-api:dev", "worker": "agent-runtime-worker:dev"}
MOST = {"api": 250, "worker": 350}  # million bytes above python:3.13-slim
BASE = "python:3.13-slim"
BAD_PATHS = ("/app/tests", "/app/.git", "/app/.env", "/app/deploy", "/app/libs/sdk", "/opt/venv/bin/pip")


def inspected(what: str) -> Any:
    return json.loads(docker("inspect", what))[0]


def inside(image: str, code: str, *options: str) -> str:
    return docker("run", "--rm", "--read-only", "--network", "none", *options, image, "python", "-c", code)


def test_everything_is_ready_and_jobs_ended_well(installation: Installation) -> None:
    listed = [json.loads(line) for line in installation.compose("ps", "--all", "--format", "json").splitlines() if line]
    jobs = {name for name, service in services().items() if service["restart"] == "no"}
    for each in listed:
        wanted = ("exited", 0) if each["Service"] in jobs else ("running", 0)
        assert (each["State"], each["ExitCode"]) == wanted, each["Service"]
        assert each["Health"] in ("healthy", ""), each["Service"]


def test_only_the_gateway_is_published(installation: Installation) -> None:
    for line in installation.compose("ps", "--format", "json").splitlines():
        each = json.loads(line)
        open_ = {(p["URL"], p["TargetPort"]) for p in each["Publishers"] if p["PublishedPort"]}
        if each["Service"] == "kong":
            assert open_ == {("127.0.0.1", 8000)}
        elif each["Service"] in PUBLISHED:  # by what the tests add; the file alone is looked at in test_file.py
            assert {address for address, _ in open_} == {"127.0.0.1"}
        else:
            assert not open_, each["Service"]


@pytest.mark.parametrize("service", ["api", "worker", "local-model", "kong"])
def test_nothing_runs_as_root_or_writes(installation: Installation, service: str) -> None:
    found = inspected(installation.container(service))
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    code = "import os\nprint(os.getuid())\ntry: open('/app/x', 'w')\nexcept OSError as e: print(e.errno)"
    said = installation.compose("exec", "--no-TTY", service, "python", "-c", code).split()
    assert said == ["10001", "30"]  # EROFS


@pytest.mark.parametrize("service", OURS)
def test_sizes(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = inspected(BASE)["Size"]
    size = (inspected(OURS[service])["Size"] - base) / 1e6
    with capsys.disabled():
        print(f"\n{OURS[service]}: {size:.0f} MB above {BASE}, of {MOST[service]}")  # noqa: T201 - for whoever reads CI
    assert size <= MOST[service]


@pytest.mark.parametrize("service", OURS)
def test_the_image_holds_no_secret_and_nothing_that_it_does_not_need(service: str) -> None:
    found = inspected(OURS[service])
    config = found["Config"]
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.title"].startswith("Agent Runtime")
    assert {"version", "revision"} <= {name.rpartition(".")[2] for name in config["Labels"]}
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", OURS[service])
    for text in (history, json.dumps(config)):
        assert DEVELOPMENT_MARK not in text
        assert not [name for name in SECRETS if name in text]
    present = inside(OURS[service], f"import os; print([p for p in {BAD_PATHS!r} if os.path.exists(p)])")
    assert present == "[]"
    compiled = "import glob; print(len(glob.glob('/app/**/*.pyc', recursive=True)) > 20)"
    assert inside(OURS[service], compiled) == "True"
    owned = "import os; print([d for d, _, _ in os.walk('/app') if os.access(d, os.W_OK)])"
    assert docker("run", "--rm", "--network", "none", OURS[service], "python", "-c", owned) == "[]"


def test_development_is_loud_and_logs_hold_no_secret(installation: Installation) -> None:
    for service in ("api", "worker"):
        assert "NOT FOR PRODUCTION" in installation.compose("logs", service)
    said = installation.compose("logs")
    shipped = {
        value
        for service in services().values()
        for name, value in service["environment"].items()
        if value.startswith(DEVELOPMENT_MARK) and value != DEVELOPMENT_MARK
    }
    assert len(shipped) > 10
    assert [value for value in shipped if value in said] == []
    assert "eyJ" not in said, "a token"


def test_arguments_hold_no_secret(installation: Installation) -> None:
    for service in ("redis", "postgres", "minio", "temporal", "keycloak"):
        shown = docker("top", installation.container(service), "-eo", "pid,args")
        assert DEVELOPMENT_MARK not in shown, service


@pytest.mark.parametrize("service", ["api", "worker-2"])
def test_a_stop_is_heard(installation: Installation, service: str) -> None:
    began = time.monotonic()
    installation.compose("stop", service)
    took, code = time.monotonic() - began, inspected(installation.container(service))["State"]["ExitCode"]
    installation.compose("start", service)
    installation.wait_until_ready()
    assert code in (0, 143), "it was killed"  # 143: uvicorn ends by the signal it was given, when all is done
    assert took < 12


def test_production_does_not_start_with_what_everybody_knows(installation: Installation) -> None:
    production = replace(installation.compose, settings={**installation.compose.settings, "DEPLOYMENT": "production"})
    with pytest.raises(ComposeFailed, match="DEPLOYMENT=production") as refused:
        production("run", "--rm", "--no-deps", "migrations")
    assert "development-only-owner" not in str(refused.value)
