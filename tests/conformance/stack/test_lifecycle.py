"""More of the embedded stack as a user runs it: restarts, deaths, two side by side, signals, a newer state."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy.embedded.control import SUPERVISOR
from deploy.embedded.state import STATE_VERSION
from tests.fixtures.commands import BUSY_STOP_SECONDS, agent_runtime, family, status, until, up

PROCESSES = ("postgres", "valkey", "object-store", "temporal", "api", "worker-1")
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("embedded-stack")]


def test_the_demo_tenant_is_made_once_and_outlives_a_restart(running: dict[str, Any], state: Path) -> None:
    def tenants(api_url: str) -> list[dict[str, Any]]:
        token = agent_runtime("token", "--role", "admin", "--state-dir", str(state)).strip()
        answer = httpx.get(f"{api_url}/v1/tenants", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    before = tenants(running["api_url"])
    assert [tenant["slug"] for tenant in before] == ["demo"]
    began = time.monotonic()
    agent_runtime("down", "--state-dir", str(state))
    assert time.monotonic() - began < BUSY_STOP_SECONDS
    assert tenants(up(state)["api_url"]) == before


def test_two_stacks_run_side_by_side(running: dict[str, Any], scratch: Path) -> None:
    other = up(scratch / "other")
    assert other["api_url"] != running["api_url"]
    for summary in (running, other):
        assert httpx.get(f"{summary['api_url']}/readyz").json()["status"] == "ok"


def test_after_the_death_of_the_supervisor_alone_nothing_of_it_stays(running: dict[str, Any], state: Path) -> None:
    processes = family(running)
    processes[0].kill()
    again = up(state)
    assert until(
        lambda: not [process for process in processes if process.is_running() and process.status() != "zombie"]
    )
    assert httpx.get(f"{again['api_url']}/readyz").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_foreground_in_order(scratch: Path, number: signal.Signals) -> None:
    state = scratch / "state"
    with subprocess.Popen(
        [*SUPERVISOR, "--state-dir", str(state), "--servers-only", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline().strip() == "{"
        processes = psutil.Process(process.pid).children(recursive=True)
        assert len(processes) > 4
        began = time.monotonic()
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(30) == 0
    assert time.monotonic() - began < BUSY_STOP_SECONDS
    assert not [child for child in processes if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert "Nothing runs" in agent_runtime("status", "--state-dir", str(state), code=4)
    log = (state / "logs/postgres.log").read_text()
    assert "database system is shut down" in log


def test_a_signal_during_the_start_leaves_nothing_behind(scratch: Path) -> None:
    with subprocess.Popen([*SUPERVISOR, "--state-dir", str(scratch / "state"), "--servers-only"]) as process:
        assert until(lambda: len(psutil.Process(process.pid).children()) >= 2)
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(30) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_what_dies_comes_back(running: dict[str, Any], state: Path) -> None:
    for name in PROCESSES:
        psutil.Process(running["services"][name]["pid"]).kill()

    def all_back() -> bool:
        services = status(state)["services"]
        return all(services[name]["status"] == "running" and services[name]["restarts"] >= 1 for name in PROCESSES)

    assert until(all_back, 40), status(state)
    assert until(lambda: httpx.get(f"{running['api_url']}/readyz").status_code == 200)


def test_a_state_directory_of_a_newer_version_is_refused(scratch: Path) -> None:
    state = scratch / "state"
    state.mkdir()
    (state / "version").write_text(str(STATE_VERSION + 1))
    for command in (("up", "--detach"), ("up",), ("status",), ("token",)):
        assert "newer release" in " ".join(agent_runtime(*command, "--state-dir", str(state), code=4).split())
    assert [path.name for path in state.iterdir()] == ["version"]
