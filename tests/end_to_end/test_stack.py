"""The embedded stack as a user runs it: up, status, a second up, deaths of every kind, down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from deploy.embedded.control import SUPERVISOR, look
from deploy.embedded.ports import LOOPBACK, is_free
from deploy.embedded.stack import Stack
from deploy.embedded.state import STATE_VERSION, StateDirectory
from tests.fixtures import secrecy

AGENT_RUNTIME = Path(sys.executable).with_name("agent-runtime")
SERVERS = ("postgres", "valkey", "object-store", "temporal")
# What a user waits on an idle machine is a figure of `up`; here other tests run beside.
BUSY_START_SECONDS, BUSY_STOP_SECONDS, IDLE_MEMORY_MB = 40, 15, 700

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("embedded-stack"),
    pytest.mark.embedded("up, status, down and the processes of the embedded stack itself"),
]


def agent_runtime(*arguments: str, code: int = 0) -> str:
    """Run the command; its output, or what it complained about when it was to fail."""
    done = subprocess.run([AGENT_RUNTIME, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def up(state_dir: Path, *options: str) -> dict[str, Any]:
    port = str(next(port for port in range(19_000, 20_000) if is_free(port)))
    summary = agent_runtime("up", "--detach", "--json", "--state-dir", str(state_dir), "--port", port, *options)
    answer: dict[str, Any] = json.loads(summary)
    return answer


def status(state_dir: Path) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(agent_runtime("status", "--json", "--state-dir", str(state_dir)))
    return seen


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def family(summary: dict[str, Any]) -> list[psutil.Process]:
    """Every process of a stack, its supervisor first."""
    supervisor = psutil.Process(summary["supervisor"])
    return [supervisor, *supervisor.children(recursive=True)]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A place for states of a test's own."""
    with reachable_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """The state that most tests share; each finds it running and may leave it dead."""
    with reachable_directory() as directory:
        yield directory / "state"


@pytest.fixture
def running(state: Path) -> dict[str, Any]:
    seen: dict[str, Any] = look(StateDirectory(state)) if state.exists() else {"running": False}
    summary = seen if seen["running"] else up(state)
    assert until(lambda: is_ready(summary["api_url"])), "the shared stack does not come back"
    return summary


def is_ready(api_url: str) -> bool:
    try:
        return httpx.get(f"{api_url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """PostgreSQL, as another user, could not enter pytest's own."""
    with tempfile.TemporaryDirectory(prefix="agent-runtime-test-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)
        for state in Path(directory).iterdir():
            if (state / "run").exists():
                secrecy.check(state)
                agent_runtime("destroy", "--yes", "--state-dir", str(state))


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


def test_a_second_up_on_the_same_state_says_so(running: dict[str, Any], state: Path) -> None:
    complaint = agent_runtime("up", "--detach", "--state-dir", str(state), code=4)
    assert "already running" in complaint
    assert str(running["supervisor"]) in complaint.replace("\n", "")
    assert status(state)["supervisor"] == running["supervisor"]


def test_two_stacks_run_side_by_side(running: dict[str, Any], scratch: Path) -> None:
    other = up(scratch / "other")
    assert other["api_url"] != running["api_url"]
    for summary in (running, other):
        assert httpx.get(f"{summary['api_url']}/readyz").json()["status"] == "ok"


def test_what_dies_comes_back(running: dict[str, Any], state: Path) -> None:
    for name in (*SERVERS, "api", "worker-1"):
        psutil.Process(running["services"][name]["pid"]).kill()

    def all_back() -> bool:
        services = status(state)["services"]
        return all(
            services[name]["status"] == "running" and services[name]["restarts"] >= 1
            for name in (*SERVERS, "api", "worker-1")
        )

    assert until(all_back, 40), status(state)
    assert until(lambda: httpx.get(f"{running['api_url']}/readyz").status_code == 200)


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


def test_after_the_death_of_the_supervisor_alone_nothing_of_it_stays(running: dict[str, Any], state: Path) -> None:
    processes = family(running)
    processes[0].kill()
    again = up(state)
    assert until(
        lambda: not [process for process in processes if process.is_running() and process.status() != "zombie"]
    )
    assert httpx.get(f"{again['api_url']}/readyz").status_code == 200


def test_a_state_directory_of_a_newer_version_is_refused(scratch: Path) -> None:
    state = scratch / "state"
    state.mkdir()
    (state / "version").write_text(str(STATE_VERSION + 1))
    for command in (("up", "--detach"), ("up",), ("status",), ("token",)):
        assert "newer release" in " ".join(agent_runtime(*command, "--state-dir", str(state), code=4).split())
    assert [path.name for path in state.iterdir()] == ["version"]


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
        assert len(processes) > len(SERVERS)
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


def test_down_of_nothing_is_fine_and_logs_are_shown(running: dict[str, Any], state: Path) -> None:
    place = str(state)
    assert "ready to accept connections" in agent_runtime("logs", "postgres", "--state-dir", place)
    lines = agent_runtime("logs", "postgres", "--json", "--state-dir", place).splitlines()
    assert {json.loads(line)["service"] for line in lines} == {"postgres"}
    assert "api" in agent_runtime("logs", "nonsense", "--state-dir", place, code=4)
    assert json.loads(agent_runtime("down", "--json", "--state-dir", place))["stopped"] is True
    assert json.loads(agent_runtime("down", "--json", "--state-dir", place))["stopped"] is False


async def test_the_roles_can_do_what_they_must_and_no_more(stack: Stack) -> None:
    settings = stack.environment()
    connection = await asyncpg.connect(settings["DATABASE_URL"], password=settings["DATABASE_PASSWORD"])
    try:
        roles = await connection.fetch(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole, rolcanlogin FROM pg_roles "
            "WHERE rolname LIKE 'agent_runtime_%' ORDER BY rolname"
        )
        assert [tuple(role) for role in roles] == [
            (f"agent_runtime_{name}", False, False, False, False, True) for name in ("app", "maintenance", "owner")
        ]
        assert await connection.fetchval("SHOW transaction_timeout") == "30s"
        assert await connection.fetchval("SHOW fsync") == "on"
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        assert await connection.fetchval(owner) == "agent_runtime_owner"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine (id int)")
    finally:
        await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(settings["DATABASE_URL"], password="guessed")
