"""The object store: large values and files of runs, through boto3 in threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from urllib3.exceptions import HTTPError

from libs.clients.threads import DaemonThreads, NoThreadFree
from libs.domain.errors import DependencyUnavailable, DomainProblem, NotFound, PayloadTooLarge
from libs.settings.object_store import ObjectStoreSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

CALLS = 16  # at a time
PATIENCE = 5.0  # seconds to wait for a thread
CALL_SECONDS = 15.0
CHECK_SECONDS = 3.0
PART = 5 * 1024 * 1024  # bytes; the smallest part that S3 takes
CHUNK = 256 * 1024  # bytes of a streamed answer
DELETE_BATCH = 1000
_MISSING = frozenset({"NoSuchKey", "NoSuchUpload", "404", "NotFound"})


class Listed(NamedTuple):
    """An object that is there."""

    key: str
    modified_at: datetime


class Unfinished(NamedTuple):
    """An upload in parts that is on its way, or was left."""

    key: str
    upload_id: str
    begun_at: datetime


class ObjectStore:
    """One bucket. What fails is `DependencyUnavailable`, within seconds even when the store hangs."""

    def __init__(self, settings: ObjectStoreSettings, call_seconds: float = CALL_SECONDS) -> None:
        self._settings = settings
        self._call_seconds = call_seconds
        self._bucket = settings.s3_bucket
        self._threads = DaemonThreads("object-store", CALLS, PATIENCE)
        self._client: S3Client | None = None
        self._client_lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, key: str, body: bytes, media_type: str) -> None:
        await self._call(lambda s3: s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=media_type))

    async def get(self, key: str) -> bytes:
        """The whole object. Raises `NotFound`."""
        return await self._call(lambda s3: s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())

    async def stream(self, key: str, start: int | None = None, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` to `end`, both included and counted from 0; the first step raises `NotFound`."""
        wanted: Any = (
            {} if start is None and end is None else {"Range": f"bytes={start or 0}-{'' if end is None else end}"}
        )
        answer: Any = await self._call(lambda s3: s3.get_object(Bucket=self._bucket, Key=key, **wanted))
        body = answer["Body"]
        try:
            while chunk := await self._call(lambda s3: body.read(CHUNK)):
                yield chunk
        finally:
            body.close()

    async def put_stream(self, key: str, body: AsyncIterator[bytes], media_type: str, limit: int) -> tuple[int, str]:
        """Store what comes, with one part of it in memory; gives size and SHA-256 (hex).

        Raises:
            PayloadTooLarge: more than `limit` bytes came; nothing is stored.
        """
        upload = _Upload(self._call, {"Bucket": self._bucket, "Key": key}, media_type)
        digest, size = hashlib.sha256(), 0
        try:
            async for piece in body:
                size += len(piece)
                if size > limit:
                    raise PayloadTooLarge(f"at most {limit} bytes are accepted")
                digest.update(piece)
                await upload.add(piece)
            await upload.complete()
        except BaseException:
            # In the background: who gives up is in a hurry, and the store may be what failed.
            giving_up = asyncio.create_task(upload.abort())
            self._tasks.add(giving_up)
            giving_up.add_done_callback(self._tasks.discard)
            raise
        return size, digest.hexdigest()

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; those that do not exist are no problem."""
        for start in range(0, len(keys), DELETE_BATCH):
            wanted: Any = {"Objects": [{"Key": key} for key in keys[start : start + DELETE_BATCH]], "Quiet": True}
            answer = await self._call(partial(_delete, self._bucket, wanted))
            if refused := answer.get("Errors"):
                raise _unavailable(f"it refused to delete {len(refused)} objects: {refused[0].get('Code')}")

    async def listed(self, prefix: str, after: str = "", most: int = DELETE_BATCH) -> list[Listed]:
        """Objects whose keys begin so, in the order of their keys, after one of them; at most 1000."""
        wanted: Any = {"Bucket": self._bucket, "Prefix": prefix, "StartAfter": after, "MaxKeys": most}
        answer: Any = await self._call(lambda s3: s3.list_objects_v2(**wanted))
        return [Listed(each["Key"], each["LastModified"]) for each in answer.get("Contents", ())]

    async def unfinished_uploads(self, prefix: str = "") -> list[Unfinished]:
        """Uploads in parts that were begun below a prefix and neither completed nor given up; at most 1000."""
        # MinIO takes a prefix for a whole key and lists nothing; other stores do not look at it.
        found = await self._uploads(prefix) or (await self._uploads("") if prefix else [])
        return [each for each in found if each.key.startswith(prefix)]

    async def _uploads(self, prefix: str) -> list[Unfinished]:
        answer: Any = await self._call(lambda s3: s3.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix))
        return [Unfinished(each["Key"], each["UploadId"], each["Initiated"]) for each in answer.get("Uploads", ())]

    async def give_up_upload(self, upload: Unfinished) -> None:
        """Drop the parts of an upload; one that is gone is no problem."""
        target: Any = {"Bucket": self._bucket, "Key": upload.key, "UploadId": upload.upload_id}
        with contextlib.suppress(NotFound):
            await self._call(lambda s3: s3.abort_multipart_upload(**target))

    async def make_bucket(self) -> bool:
        """Make the bucket; False when it is there already."""
        where: Any = {"Bucket": self._bucket}
        if self._settings.s3_region != "us-east-1":  # which S3 wants unnamed
            where["CreateBucketConfiguration"] = {"LocationConstraint": self._settings.s3_region}
        return await self._call(partial(_make_bucket, where))

    async def check(self) -> None:
        """Whether the bucket can be reached."""
        await self._call(lambda s3: s3.head_bucket(Bucket=self._bucket), CHECK_SECONDS)

    async def _call(self, work: Callable[[S3Client], T], seconds: float | None = None) -> T:
        try:
            async with asyncio.timeout(seconds or self._call_seconds):
                return await self._threads.run(lambda: work(self._connected()))
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            if code in _MISSING and error.operation_name != "HeadBucket":
                raise NotFound("there is no such object") from None
            raise _unavailable(f"it answered {code} to {error.operation_name}") from None
        except (TimeoutError, NoThreadFree):
            raise _unavailable("it does not answer in time") from None
        except (BotoCoreError, HTTPClientError, HTTPError, OSError) as error:
            raise _unavailable(f"the call failed: {type(error).__name__}") from None

    def _connected(self) -> S3Client:
        """The client, made at its first use and in a thread: looking for credentials may need the network."""
        with self._client_lock:
            if self._client is None:
                self._client = _client(self._settings)
            return self._client


class _Upload:
    """One object on its way: a single request when it fits a part, several otherwise."""

    def __init__(self, call: Callable[..., Any], target: dict[str, str], media_type: str) -> None:
        self._call = call
        self._target: Any = target
        self._media_type = media_type
        self._buffer = bytearray()
        self._id: str | None = None
        self._tags: list[str] = []

    async def add(self, piece: bytes) -> None:
        self._buffer += piece
        while len(self._buffer) > PART:
            await self._send(bytes(self._buffer[:PART]))
            del self._buffer[:PART]

    async def complete(self) -> None:
        rest = bytes(self._buffer)
        if self._id is None:
            await self._call(lambda s3: s3.put_object(**self._target, Body=rest, ContentType=self._media_type))
            return
        await self._send(rest)
        parts = {"Parts": [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(self._tags, 1)]}
        await self._call(
            lambda s3: s3.complete_multipart_upload(**self._target, UploadId=self._id, MultipartUpload=parts)
        )

    async def abort(self) -> None:
        if self._id is not None:
            with contextlib.suppress(DomainProblem):
                await self._call(lambda s3: s3.abort_multipart_upload(**self._target, UploadId=self._id))

    async def _send(self, part: bytes) -> None:
        if self._id is None:
            opened = await self._call(
                lambda s3: s3.create_multipart_upload(**self._target, ContentType=self._media_type)
            )
            self._id = opened["UploadId"]
        number = len(self._tags) + 1
        sent = await self._call(
            lambda s3: s3.upload_part(**self._target, UploadId=self._id, PartNumber=number, Body=part)
        )
        self._tags.append(sent["ETag"])


def _delete(bucket: str, wanted: Any, s3: S3Client) -> Any:
    return s3.delete_objects(Bucket=bucket, Delete=wanted)


def _make_bucket(where: Any, s3: S3Client) -> bool:
    try:
        s3.create_bucket(**where)
    except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        s3.head_bucket(Bucket=where["Bucket"])  # one that is somebody else's refuses
        return False
    return True


def _client(settings: ObjectStoreSettings) -> S3Client:
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=2,
        read_timeout=10,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=CALLS,
        # Other stores than Amazon's do not know the checksums that are sent by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        proxies={} if settings.s3_endpoint_url else None,
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        verify=settings.s3_ca_file,
        config=config,
    )


def _unavailable(what: str) -> DependencyUnavailable:
    return DependencyUnavailable("object_store", f"The object store cannot be used: {what}. Try again in a moment.")
