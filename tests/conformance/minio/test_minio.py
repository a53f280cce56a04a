"""A real MinIO: what the platform's client relies on, and what it makes of a store that refuses or is full."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from libs.clients.bucket import make
from libs.clients.object_store import PART, ObjectStore
from libs.domain.errors import DependencyUnavailable, NotFound, PayloadTooLarge
from libs.settings.object_store import ObjectStoreSettings
from tests.conformance.minio.conftest import DISK

pytestmark = pytest.mark.asyncio


@pytest.fixture
def key() -> str:
    return f"tests/{uuid4()}"


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def read(store: ObjectStore, key: str, start: int | None = None, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.stream(key, start, end)])


async def test_the_bucket_is_made_once(settings: ObjectStoreSettings) -> None:
    assert await make(settings) is False
    another = settings.model_copy(update={"s3_bucket": f"made-{uuid4()}"})
    assert await make(another) is True
    assert await make(another) is False
    await ObjectStore(another).check()


async def test_what_is_put_comes_back_until_it_is_deleted(store: ObjectStore, key: str) -> None:
    await store.put(key, b"hello \xff", "text/plain")
    assert await store.get(key) == b"hello \xff"
    assert [listed.key for listed in await store.listed(key)] == [key]
    await store.delete([key, f"{key}-never"])
    with pytest.raises(NotFound):
        await store.get(key)


@pytest.mark.parametrize("size", [0, PART, PART + 1, 2 * PART + 100])
async def test_multipart(store: ObjectStore, key: str, size: int) -> None:
    content = os.urandom(size)
    given = [content[start : start + 700_001] for start in range(0, size, 700_001)]
    stored = await store.put_stream(key, pieces(*given), "application/octet-stream", limit=size)
    assert stored == (size, hashlib.sha256(content).hexdigest())
    assert await read(store, key) == content
    await store.delete([key])


async def test_an_upload_that_is_given_up_leaves_nothing(store: ObjectStore, key: str) -> None:
    with pytest.raises(PayloadTooLarge):
        await store.put_stream(key, pieces(b"x" * PART, b"x" * PART), "text/plain", limit=PART + 10)
    await asyncio.gather(*store._tasks)
    assert await store.unfinished_uploads(key) == []
    with pytest.raises(NotFound):
        await store.get(key)


async def test_an_unfinished_upload_is_found(store: ObjectStore, key: str) -> None:
    """What a killed process leaves; an erasure looks for it by the beginning of its key."""
    opened: Any = await store._call(lambda s3: s3.create_multipart_upload(Bucket=store._bucket, Key=key))
    await store._call(
        lambda s3: s3.upload_part(
            Bucket=store._bucket, Key=key, UploadId=opened["UploadId"], PartNumber=1, Body=b"x" * PART
        )
    )
    for prefix in ("", "tests/", key):
        found = await store.unfinished_uploads(prefix)
        assert [upload.key for upload in found] == [key], prefix
    assert await store.unfinished_uploads("elsewhere/") == []
    await store.give_up_upload(found[0])
    await store.give_up_upload(found[0])
    assert await store.unfinished_uploads(key) == []


async def test_ranges(store: ObjectStore, key: str) -> None:
    await store.put(key, b"0123456789", "text/plain")
    assert await read(store, key, 2, 4) == b"234"
    assert await read(store, key, 7) == b"789"
    assert await read(store, key, 7, 700) == b"789"
    with pytest.raises(DependencyUnavailable, match="InvalidRange"):
        await read(store, key, 10)


async def test_presigned_addresses(store: ObjectStore, key: str) -> None:
    await store.put(key, b"secret", "text/plain")
    sign = store._connected().generate_presigned_url
    target = {"Bucket": store._bucket, "Key": key}
    good = sign("get_object", Params=target, ExpiresIn=60)
    assert "X-Amz-Signature" in good
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(good)).content == b"secret"
        assert (await http.get(good[:-4] + "0000")).status_code == 403
        assert (await http.get(good.replace(key, f"{key}x"))).status_code == 403
        assert (await http.get(good.split("?")[0])).status_code == 403
        short = sign("get_object", Params=target, ExpiresIn=1)
        await asyncio.sleep(2.1)
        assert (await http.get(short)).status_code == 403


async def test_conditional_writes(store: ObjectStore, key: str) -> None:
    s3 = store._connected()
    target: Any = {"Bucket": store._bucket, "Key": key}
    first = s3.put_object(**target, Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(**target, Body=b"2", IfNoneMatch="*")
    s3.put_object(**target, Body=b"3", IfMatch=first["ETag"])
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(**target, Body=b"4", IfMatch=first["ETag"])
    assert await store.get(key) == b"3"


async def test_of_many_who_write_only_if_nobody_has_one_wins(store: ObjectStore, key: str) -> None:
    s3 = store._connected()

    def write(number: int) -> bool:
        try:
            s3.put_object(Bucket=store._bucket, Key=key, Body=str(number).encode(), IfNoneMatch="*")
        except ClientError:
            return False
        return True

    won = await asyncio.gather(*(asyncio.to_thread(write, number) for number in range(8)))
    assert won.count(True) == 1
    assert await store.get(key) == str(won.index(True)).encode()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"s3_secret_access_key": SecretStr("hunter2hunter2")}, "SignatureDoesNotMatch"),
        ({"s3_access_key_id": SecretStr("nobody")}, "InvalidAccessKeyId"),
        ({"s3_bucket": "not-there"}, None),
    ],
)
async def test_wrong_keys_and_buckets(
    settings: ObjectStoreSettings, key: str, changed: dict[str, Any], code: str | None
) -> None:
    store = ObjectStore(settings.model_copy(update=changed))
    with pytest.raises(DependencyUnavailable, match=code) as refused:
        await store.put(key, b"x", "text/plain")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(DependencyUnavailable):
        await store.check()


async def test_a_full_disk(settings: ObjectStoreSettings, key: str) -> None:
    """A clear refusal, nothing half stored, and everything goes on when there is room again."""
    if "MINIO_URL" in os.environ:
        pytest.skip("somebody's MinIO is not filled up")
    store = ObjectStore(settings)
    filled: list[str] = []
    with pytest.raises(DependencyUnavailable, match=r"StorageFull|InternalError") as refused:
        await _fill(store, key, filled)
    assert refused.value.retry_after > 0
    assert filled, "nothing fitted at all"
    await asyncio.gather(*store._tasks)
    assert await store.get(filled[0])
    with pytest.raises(NotFound):
        await store.get(f"{key}/{len(filled)}")
    await store.delete(filled)
    await _room_again(store, key)
    assert await store.get(key) == b"x" * 2**20


async def _fill(store: ObjectStore, key: str, filled: list[str]) -> None:
    for number in range(DISK // 4):
        await store.put_stream(f"{key}/{number}", pieces(*[os.urandom(2**20)] * 6), "text/plain", 10 * 2**20)
        filled.append(f"{key}/{number}")


async def _room_again(store: ObjectStore, key: str) -> None:
    for _ in range(30):
        try:
            return await store.put(key, b"x" * 2**20, "text/plain")
        except DependencyUnavailable:
            await asyncio.sleep(0.5)
    raise AssertionError("there is room, and MinIO takes nothing")
