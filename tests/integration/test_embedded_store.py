"""The embedded stack's object store, started where others left their sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded.object_store import SOCKETS, ObjectStore
from deploy.embedded.ports import Ports
from deploy.embedded.processes import Flag
from deploy.embedded.service import Service
from deploy.embedded.state import StateDirectory
from libs.clients.object_store import ObjectStore as ObjectStoreClient
from libs.settings.object_store import ObjectStoreSettings
from tests.fixtures.commands import reachable_directory


@pytest.fixture
def state() -> Iterator[StateDirectory]:
    with reachable_directory() as directory:
        opened = StateDirectory(directory / "store")
        opened.open()
        yield opened


def _socket(ports: Ports, part: str) -> Path:
    return SOCKETS / f"seaweedfs-{part}-grpc-{ports[f'object-store-{part}.grpc']}.sock"


def test_it_keeps_objects_where_a_socket_of_another_user_stands_in_its_way(state: StateDirectory) -> None:
    """Its parts could not reach each other: it said that it was ready, and the first upload hung."""
    remembered = Ports(state.path / "ports.json")
    ours, blocked = _socket(remembered, "master"), _socket(remembered, "volume")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(ours))
    # As root there is no file that cannot be removed, but a directory with something in it.
    blocked.mkdir()
    (blocked / "file").touch()
    try:
        store = ObjectStore(state, Ports(state.path / "ports.json"))
        store.install(Flag())
        service = Service(store.name, store.program, state, Flag())
        service.start()
        try:
            asyncio.run(_keep_one(store.environment()))
            chosen = Ports(state.path / "ports.json")
            chosen.adopt()
            sockets = [_socket(chosen, part) for part in ("master", "volume", "filer")]
            assert ours in sockets
            assert all(path.is_socket() for path in sockets)
        finally:
            service.stop()
        assert not any(path.exists() for path in sockets)
    finally:
        (blocked / "file").unlink()
        blocked.rmdir()


async def _keep_one(settings: dict[str, str]) -> None:
    values: dict[str, Any] = {name.lower(): value for name, value in settings.items()}
    client = ObjectStoreClient(ObjectStoreSettings(**values))
    await client.put("one", b"kept", "text/plain")
    assert await client.get("one") == b"kept"
