"""The embedded stack as a user runs it: up, status, a second up, deaths of every kind, down."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy.embedded.ports import LOOPBACK
from tests.fixtures.commands import agent_runtime, family, status, up

SERVERS = ("postgres", "valkey", "object-store", "temporal")
# What a user waits on an idle machine is a figure of `up`; here other tests run beside.
BUSY_START_SECONDS, IDLE_MEMORY_MB = 40, 700

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("embedded-stack"),
    pytest.mark.embedded("up, status, down and the processes of the embedded stack itself"),
]


def test_up_tells_what_runs_and_where(running: dict[str, Any], state: Path) -> None:
    assert running["state_dir"] == str(state)
    assert set(running["services"]) == {*SERVERS, "issuer", "api", "worker-1"}
    assert all(service["pid"] and service["address"] for service in running["services"].values())
    assert running["cold_start_seconds"] < BUSY_START_SECONDS
    assert 50 < running["memory_mb"] < IDLE_MEMORY_MB
    assert httpx.get(f"{running['api_url']}/readyz").status_code == 200
    discovery = httpx.get(f"{running['issuer']}/.well-known/openid-configuration").json()
    assert discovery["token_endpoint"] == running["token_url"]
    # Nothing listens beyond the loopback address.
    listening = [
        connection.laddr.ip
        for process in family(running)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > len(SERVERS)
    assert set(listening) == {LOOPBACK}
    # No secret stands among arguments or in a log.
    secrets = [path.read_text() for path in (state / "secrets").iterdir() if path.suffix == ""]
    shown = [" ".join(process.cmdline()) for process in family(running)]
    shown += [path.read_text(errors="replace") for path in (state / "logs").iterdir()]
    assert len(secrets) >= 7
    assert not [secret for secret in secrets for text in shown if secret in text]


def test_a_second_up_on_the_same_state_says_so(running: dict[str, Any], state: Path) -> None:
    complaint = agent_runtime("up", "--detach", "--state-dir", str(state), code=4)
    assert "already running" in complaint
    assert str(running["supervisor"]) in complaint.replace("\n", "")
    assert status(state)["supervisor"] == running["supervisor"]


def test_after_the_death_of_everything_the_next_up_recovers(running: dict[str, Any], state: Path) -> None:
    processes = family(running)
    for process in processes:
        # Some end with the supervisor before their turn comes.
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)
    agent_runtime("status", "--state-dir", str(state), code=4)
    again = up(state)
    assert httpx.get(f"{again['api_url']}/readyz").status_code == 200
    ports = {name: service["address"] for name, service in again["services"].items() if name != "api"}
    assert ports == {name: running["services"][name]["address"] for name in ports}


def test_a_taken_port_is_told_in_words(scratch: Path) -> None:
    taken = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
            "print(s.getsockname()[1], flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert taken.stdout
        port = taken.stdout.readline().strip()
        complaint = agent_runtime("up", "--state-dir", str(scratch / "state"), "--port", port, code=4)
        assert f"port {port}" in complaint
        assert "--port" in complaint
    finally:
        taken.kill()
        taken.communicate()


def test_down_of_nothing_is_fine_and_logs_are_shown(running: dict[str, Any], state: Path) -> None:
    place = str(state)
    assert "ready to accept connections" in agent_runtime("logs", "postgres", "--state-dir", place)
    lines = agent_runtime("logs", "postgres", "--json", "--state-dir", place).splitlines()
    assert {json.loads(line)["service"] for line in lines} == {"postgres"}
    assert "api" in agent_runtime("logs", "nonsense", "--state-dir", place, code=4)
    assert json.loads(agent_runtime("down", "--json", "--state-dir", place))["stopped"] is True
    assert json.loads(agent_runtime("down", "--json", "--state-dir", place))["stopped"] is False
