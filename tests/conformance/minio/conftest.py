"""A MinIO of its own for the suite, with a disk so small that it fills up; or the one that MINIO_URL names."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from libs.clients.bucket import make
from libs.clients.object_store import ObjectStore
from libs.settings.object_store import ObjectStoreSettings
from tests.fixtures.compose.engine import docker, engine_runs
from tests.fixtures.compose.rendering import services

DISK = 64  # MiB
USER = "suite"


@pytest.fixture(scope="session")
def settings() -> Iterator[ObjectStoreSettings]:
    if url := os.environ.get("MINIO_URL"):
        keys = (os.environ["MINIO_ROOT_USER"], os.environ["MINIO_ROOT_PASSWORD"])
        yield _settings(url, *keys)
        return
    if not engine_runs():
        pytest.skip("there is no container engine; MINIO_URL, MINIO_ROOT_USER and MINIO_ROOT_PASSWORD name a MinIO")
    password = secrets.token_urlsafe(24)
    shipped = services()["minio"]
    container = docker(
        "run", "--detach", "--rm", "--publish", "127.0.0.1::9000", "--cap-drop", "ALL",
        "--env", f"MINIO_ROOT_USER={USER}", "--env", f"MINIO_ROOT_PASSWORD={password}",
        "--tmpfs", f"/disk:mode=1777,size={DISK}m", shipped["image"],
        *(part.replace("/data", "/disk") for part in shipped["command"]),
    )  # fmt: skip
    try:
        yield _settings(f"http://{docker('port', container, '9000').splitlines()[0]}", USER, password)
    finally:
        docker("stop", "--time", "2", container)


def _settings(url: str, user: str, password: str) -> ObjectStoreSettings:
    settings = ObjectStoreSettings(
        s3_endpoint_url=url,
        s3_bucket="conformance",
        s3_access_key_id=SecretStr(user),
        s3_secret_access_key=SecretStr(password),
    )
    asyncio.run(make(settings))
    return settings


@pytest.fixture
def store(settings: ObjectStoreSettings) -> ObjectStore:
    return ObjectStore(settings)
