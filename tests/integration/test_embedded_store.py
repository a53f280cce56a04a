"""The embedded stack's object store, started where others left their sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from deploy.embedded.object_store import SOCKETS, ObjectStore
from deploy.embedded.ports import Ports
from deploy.embedded.processes import Flag
from deploy.embedded.service import Service
from deploy.embedded.state import StateDirectory
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
            _keep_one(store.environment())
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


def _keep_one(settings: dict[str, str]) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=settings["S3_ENDPOINT_URL"],
        region_name=settings["S3_REGION"],
        aws_access_key_id=settings["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["S3_SECRET_ACCESS_KEY"],
        config=Config(read_timeout=10, retries={"max_attempts": 0}),
    )
    client.put_object(Bucket=settings["S3_BUCKET"], Key="one", Body=b"kept")
    assert client.get_object(Bucket=settings["S3_BUCKET"], Key="one")["Body"].read() == b"kept"
