"""The state directory: versions, strangers' directories, the lock, secrets."""

from __future__ import annotations

import multiprocessing
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.embedded.failures import AlreadyRunning, NotRunning, StateRefused
from deploy.embedded.state import STATE_VERSION, StateDirectory, default_state_directory


def test_a_new_directory_gets_this_version(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    assert (state.path / "version").read_text().strip() == str(STATE_VERSION)


def test_a_newer_version_is_refused_in_words(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    (state.path / "version").write_text(str(STATE_VERSION + 1))
    with pytest.raises(StateRefused, match="newer release"):
        state.open()


@pytest.mark.parametrize("content", ["", "abc", "-1"])
def test_a_broken_version_is_refused(tmp_path: Path, content: str) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    (state.path / "version").write_text(content)
    with pytest.raises(StateRefused, match="no version number"):
        state.open()


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("two years of work")
    state = StateDirectory(tmp_path)
    with pytest.raises(StateRefused, match="not empty"):
        state.open()
    with pytest.raises(StateRefused):
        state.destroy()
    assert (tmp_path / "thesis.txt").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateRefused, match="--state-dir"):
        StateDirectory(tmp_path / "file" / "state").open()


def test_a_directory_without_state_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="agent-runtime up"):
        StateDirectory(tmp_path).check_usable()


def test_secrets_are_kept_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    first = state.secret("valkey")
    assert len(first) >= 32
    assert StateDirectory(tmp_path / "state").secret("valkey") == first
    assert state.secret("postgres-app") != first
    assert stat.S_IMODE((state.path / "secrets" / "valkey").stat().st_mode) == 0o600
    assert stat.S_IMODE((state.path / "secrets").stat().st_mode) == 0o700


def test_of_many_that_make_a_secret_at_a_time_all_get_the_same(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    with ThreadPoolExecutor(max_workers=16) as pool:
        for name in map(str, range(20)):
            assert len(set(pool.map(state.secret, [name] * 16))) == 1
    assert len(list((state.path / "secrets").iterdir())) == 20


def _hold(path: Path, held: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    with StateDirectory(path).lock():
        held.set()
        done.wait(10)


def test_the_lock_keeps_a_second_process_out_and_names_the_first(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(state.path, held, done))
    process.start()
    try:
        assert held.wait(10)
        assert state.holder() == process.pid
        with pytest.raises(AlreadyRunning, match=str(process.pid)), state.lock():
            pytest.fail("the lock was given twice")
    finally:
        process.kill()
        process.join()
    assert state.holder() is None
    with state.lock():
        assert state.path.exists()


def test_destroy_leaves_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.open()
    state.secret("valkey")
    state.destroy()
    assert not state.path.exists()


def test_the_default_can_be_named_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RUNTIME_STATE_DIR", str(tmp_path))
    assert default_state_directory() == tmp_path
