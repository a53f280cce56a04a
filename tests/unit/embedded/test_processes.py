"""Processes: told apart from strangers that got the same number, ended when left over, logs kept small."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.embedded.binaries import find_postgres, find_valkey
from deploy.embedded.failures import ProgramNotFound, StartFailed
from deploy.embedded.logs import rotate, tail
from deploy.embedded.processes import Child, Flag, Program, end_orphans, is_running, launch, started_at
from deploy.embedded.service import Service
from deploy.embedded.state import StateDirectory, write_json


def program(tmp_path: Path, code: str, ready: Callable[[], bool] = lambda: True) -> Program:
    return Program("sleeper", (sys.executable, "-I", "-S", "-c", code), tmp_path, ready, start_seconds=5)


def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def sleeper(tmp_path: Path) -> Child:
    return launch(program(tmp_path, "import time; time.sleep(60)"), tmp_path / "log", tmp_path)


def test_what_was_left_running_is_ended(tmp_path: Path, sleeper: Child) -> None:
    assert end_orphans(tmp_path) == ["sleeper"]
    assert until(lambda: sleeper.exit_code == -signal.SIGKILL)
    assert list(tmp_path.glob("*.pid")) == []


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path, sleeper: Child) -> None:
    for record in tmp_path.glob("*.pid"):
        write_json(record, {"name": "sleeper", "pid": sleeper.pid, "started": "long ago"})
    assert end_orphans(tmp_path) == []
    assert sleeper.exit_code is None
    sleeper.kill()


def test_this_process_runs_and_one_of_another_start_does_not() -> None:
    started = started_at(os.getpid())
    assert started
    assert is_running(os.getpid(), started)
    assert not is_running(os.getpid(), "1")


def test_a_child_that_ignores_its_signal_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    child = launch(program(tmp_path, code), tmp_path / "log", tmp_path)
    assert until(lambda: (tmp_path / "log").read_text().strip() == "on")
    began = time.monotonic()
    child.stop(signal.SIGTERM, 0.2)
    assert child.exit_code == -signal.SIGKILL
    assert time.monotonic() - began < 2


def test_a_frozen_child_can_be_stopped(tmp_path: Path, sleeper: Child) -> None:
    sleeper.signal(signal.SIGSTOP)
    sleeper.stop(signal.SIGTERM, 2)
    assert sleeper.exit_code == -signal.SIGTERM


def test_a_service_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    service = _service(tmp_path, program(tmp_path, "print('no disk'); raise SystemExit(3)", lambda: False))
    with pytest.raises(StartFailed, match=r"exit code 3(.|\n)*no disk"):
        service.start()


def test_a_service_that_dies_comes_back(tmp_path: Path) -> None:
    service = _service(tmp_path, program(tmp_path, "import time; time.sleep(60)"))
    service.start()
    first = service.pid
    service.signal(signal.SIGKILL)
    assert until(lambda: service.pid is None)
    assert service.status == "restarting"
    assert until(lambda: bool(service.tend() and service.status == "running"))
    assert service.pid != first
    assert service.restarts == 1
    service.stop()
    assert not service.tend()
    assert service.status == "stopped"


def _service(tmp_path: Path, what: Program) -> Service:
    state = StateDirectory(tmp_path / "state")
    state.open()
    return Service("sleeper", lambda: what, state, Flag())


def test_a_large_log_is_put_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    with open(path, "ab", buffering=0) as writer:
        for number in range(5):
            writer.write(b"line %d\n" % number * 10)
            rotate(tmp_path, largest=20)
        writer.write(b"last\n")
    assert tail(path, 10) == ["last"]
    assert tail(tmp_path / "api.log.1", 1) == ["line 4"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["api.log", "api.log.1", "api.log.2", "api.log.3"]


def test_a_named_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotFound, match="VALKEY_SERVER"):
        find_valkey({"VALKEY_SERVER": str(tmp_path / "nothing")})
    with pytest.raises(ProgramNotFound, match="POSTGRES_BIN_DIR"):
        find_postgres({"POSTGRES_BIN_DIR": str(tmp_path)})
