"""The object store's client against a real store, and against ones that are dead, silent or lie."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from pydantic import SecretStr

from libs.clients.object_store import PART, ObjectStore
from libs.domain.errors import DependencyUnavailable, NotFound, PayloadTooLarge
from libs.settings.object_store import ObjectStoreSettings
from tests.fixtures.stack import TestServers

pytestmark = pytest.mark.asyncio


@pytest.fixture
def settings(servers: TestServers) -> ObjectStoreSettings:
    return ObjectStoreSettings(**{name.lower(): value for name, value in servers.environment.items() if "S3_" in name})  # type: ignore[arg-type]  # text from the environment


@pytest.fixture
def store(settings: ObjectStoreSettings) -> ObjectStore:
    return ObjectStore(settings)


@pytest.fixture
def key() -> str:
    return f"tests/{uuid4()}"


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _read(store: ObjectStore, key: str, start: int | None = None, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.stream(key, start, end)])


async def test_what_is_put_comes_back(store: ObjectStore, key: str) -> None:
    await store.check()
    await store.put(key, b"hello \xff", "text/plain")
    assert await store.get(key) == b"hello \xff"
    await store.put(key, b"", "text/plain")
    assert await store.get(key) == b""


async def test_a_range_has_both_its_ends(store: ObjectStore, key: str) -> None:
    await store.put(key, b"0123456789", "text/plain")
    assert await _read(store, key) == b"0123456789"
    assert await _read(store, key, 2, 4) == b"234"
    assert await _read(store, key, 7) == b"789"


async def test_what_is_missing_is_not_found(store: ObjectStore, key: str) -> None:
    with pytest.raises(NotFound):
        await store.get(key)
    with pytest.raises(NotFound):
        await _read(store, key)
    await store.delete([key])


async def test_delete_many(store: ObjectStore, key: str) -> None:
    keys = [f"{key}/{n}" for n in range(5)]
    for one in keys:
        await store.put(one, b"x", "text/plain")
    await store.delete(keys)
    for one in keys:
        with pytest.raises(NotFound):
            await store.get(one)


@pytest.mark.parametrize("size", [0, 10, PART, PART + 1, 2 * PART, 2 * PART + 100])
async def test_a_stream_is_stored_in_parts(store: ObjectStore, key: str, size: int) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    pieces = [content[start : start + 700_001] for start in range(0, size, 700_001)]
    stored = await store.put_stream(key, _pieces(*pieces), "application/octet-stream", limit=size)
    assert stored == (size, hashlib.sha256(content).hexdigest())
    assert await _read(store, key) == content


async def test_too_much_is_not_stored(store: ObjectStore, key: str) -> None:
    with pytest.raises(PayloadTooLarge):
        await store.put_stream(key, _pieces(b"x" * PART, b"x" * PART), "text/plain", limit=PART + 10)
    with pytest.raises(NotFound):
        await store.get(key)


async def test_an_upload_that_breaks_leaves_nothing(store: ObjectStore, key: str) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * (PART + 1)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put_stream(key, broken(), "text/plain", limit=10 * PART)
    await asyncio.gather(*store._tasks)
    uploads = await store._call(lambda s3: s3.list_multipart_uploads(Bucket="agent-runtime", Prefix=key))
    assert not uploads.get("Uploads")
    with pytest.raises(NotFound):
        await store.get(key)


def _elsewhere(settings: ObjectStoreSettings, port: int, call_seconds: float = 15.0) -> ObjectStore:
    return ObjectStore(settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{port}"}), call_seconds)


@contextlib.contextmanager
def _silent() -> Iterator[int]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


async def test_a_dead_store_is_a_dependency_that_is_away(settings: ObjectStoreSettings, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DependencyUnavailable) as caught:
        await _elsewhere(settings, port).put(key, b"x", "text/plain")
    assert caught.value.dependency == "object_store"
    assert caught.value.retry_after > 0


async def test_a_silent_store_blocks_nobody(settings: ObjectStoreSettings, key: str) -> None:
    with _silent() as port:
        hanging = _elsewhere(settings, port, 1.0)
        calls = [asyncio.create_task(hanging.get(key)) for _ in range(40)]
        ticks = 0
        started = time.monotonic()
        while not all(call.done() for call in calls):
            await asyncio.sleep(0.01)
            ticks += 1
        assert time.monotonic() - started < 5
        assert ticks > 3  # a loop that is blocked makes none
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(failure) for failure in failures} == {DependencyUnavailable}
        # Other work in threads goes on.
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 1) == 1


async def test_wrong_credentials_say_so_without_showing_them(settings: ObjectStoreSettings, key: str) -> None:
    wrong = settings.model_copy(update={"s3_secret_access_key": SecretStr("hunter2hunter2")})
    with pytest.raises(DependencyUnavailable, match="SignatureDoesNotMatch") as caught:
        await ObjectStore(wrong).put(key, b"x", "text/plain")
    assert "hunter2" not in str(caught.value)


async def test_keys_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="together"):
        ObjectStoreSettings(s3_access_key_id=SecretStr("a"))
