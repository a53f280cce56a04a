"""Everything that a platform has written anywhere, to look for what must not be in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import redis.asyncio as redis
from botocore.config import Config

from tests.fixtures.platform import Platform

READS: dict[str, Callable[[bytes], tuple[Any, ...]]] = {
    "stream": lambda key: ("XRANGE", key, "-", "+"),
    "string": lambda key: ("GET", key),
    "hash": lambda key: ("HGETALL", key),
    "set": lambda key: ("SMEMBERS", key),
    "list": lambda key: ("LRANGE", key, 0, -1),
    "zset": lambda key: ("ZRANGE", key, 0, -1),
}


async def everything(platform: Platform, tenant: str) -> AsyncIterator[tuple[str, bytes]]:
    """Names and contents: rows, live events, objects, histories, and the files of every server, logs among them."""
    async for found in rows(platform, tenant):
        yield found
    async for found in live(platform):
        yield found
    for found in objects(platform):
        yield found
    async for found in histories(platform, tenant):
        yield found
    for found in platform.files():
        yield found


async def rows(platform: Platform, tenant: str) -> AsyncIterator[tuple[str, bytes]]:
    """What is compressed on the disk is not here."""
    async with platform.records(tenant) as records:
        tables = await records.rows(
            "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = 'public'"
        )
        for table in tables:
            name = table["table_name"]
            text = await records.rows(f'SELECT t::text AS row FROM "{name}" t')
            yield f"table {name}", "\n".join(each["row"] for each in text).encode()


async def live(platform: Platform) -> AsyncIterator[tuple[str, bytes]]:
    environment = platform.environment()
    client = redis.from_url(environment["REDIS_URL"], password=environment["REDIS_PASSWORD"])
    async with client:
        async for key in client.scan_iter():
            kind: Any = await client.type(key)
            command: Any = client.execute_command
            value = await command(*READS[kind.decode()](key))
            yield f"redis {key!r}", repr((key, value)).encode()


def objects(platform: Platform) -> list[tuple[str, bytes]]:
    environment = platform.environment()
    store = boto3.client(
        "s3",
        endpoint_url=environment["S3_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=environment["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["S3_SECRET_ACCESS_KEY"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    bucket = environment["S3_BUCKET"]
    listed = store.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [each["Key"] for page in listed for each in page.get("Contents", [])]
    return [(f"object {key}", store.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys]


async def histories(platform: Platform, tenant: str) -> AsyncIterator[tuple[str, bytes]]:
    client = await platform.temporal()
    async for execution in client.list_workflows(f"TenantId = '{platform.tenants[tenant]}'"):
        history = await client.get_workflow_handle(execution.id).fetch_history()
        # As JSON, payloads would be in base64.
        yield f"history {execution.id}", b"".join(event.SerializeToString() for event in history.events)


def check_hides(name: str, content: bytes, hidden: list[str]) -> None:
    for secret in hidden:
        place = content.find(secret.encode())
        assert place < 0, f"{name}: …{content[max(0, place - 300) : place + 100]!r}…"
