"""Ports: free, remembered, chosen again when taken."""

from __future__ import annotations

import gc
import socket
import sys
from pathlib import Path

import pytest

from deploy.embedded.failures import StateRefused
from deploy.embedded.ports import LOOPBACK, LOWEST, Ports, is_free


def _listening(port: int) -> socket.socket:
    server = socket.socket()
    server.bind((LOOPBACK, port))
    server.listen()
    return server


def test_a_port_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    chosen = Ports(file)["postgres"]
    assert is_free(chosen)
    assert Ports(file)["postgres"] == chosen


def test_names_get_ports_of_their_own(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    assert len({ports[f"server-{number}"] for number in range(20)}) == 20


def test_a_port_that_was_taken_meanwhile_is_chosen_again(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    chosen = Ports(file)["postgres"]
    with _listening(chosen):
        again = Ports(file)["postgres"]
    assert again != chosen
    assert Ports(file)["postgres"] == again


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is chosen is told to others on Linux only")
def test_a_port_that_another_stack_has_just_chosen_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter([0, 0, 7, 7])
    monkeypatch.setattr("deploy.embedded.ports.secrets.randbelow", lambda most: next(numbers))
    first, second = Ports(tmp_path / "a.json"), Ports(tmp_path / "b.json")
    assert (first["postgres"], second["postgres"]) == (LOWEST, LOWEST + 7)
    del first, second
    gc.collect()
    assert Ports(tmp_path / "c.json")["postgres"] == LOWEST + 7


def test_the_port_of_a_running_server_is_adopted_though_it_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    chosen = Ports(file)["postgres"]
    with _listening(chosen):
        ports = Ports(file)
        ports.adopt()
        assert ports["postgres"] == chosen


def test_a_twin_that_is_taken_makes_the_port_unfit(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    chosen = Ports(file).take("admin", twin=1)
    with _listening(chosen + 1):
        assert Ports(file).take("admin", twin=1) != chosen


def test_a_wanted_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    with _listening(0) as server, pytest.raises(StateRefused, match="--port"):
        ports.reserve("api", server.getsockname()[1])


def test_a_broken_file_is_started_anew(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text("{")
    assert Ports(file)["postgres"]


def test_a_port_that_does_not_fit_is_chosen_again(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    chosen = Ports(file)["store"]
    again = Ports(file).take("store", twin=1, fits=lambda port: port not in (chosen, chosen + 1))
    assert again not in (chosen, chosen + 1)
    assert Ports(file).take("store", fits=lambda port: port == again) == again
