"""Objects: each tenant's stand under its own prefix, and nobody reads them without the platform's key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from deploy.embedded.isolation.trying import Tried, Victim

LAYER = "S3"
PREFIX, ANONYMOUS, MARKS = "keys without a tenant", "without a key", "content under another tenant's prefix"
_PREFIXED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/")
MOST = 2000  # objects that are looked into


async def attacks(environment: Mapping[str, str], attacker: str, victim: Victim) -> AsyncIterator[Tried]:
    for tried in await asyncio.to_thread(_attacks, environment, victim):
        yield tried


def _attacks(environment: Mapping[str, str], victim: Victim) -> list[Tried]:
    bucket = environment["S3_BUCKET"]
    store = _client(environment, environment["S3_ACCESS_KEY_ID"], environment["S3_SECRET_ACCESS_KEY"])
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [str(each["Key"]) for page in pages for each in page.get("Contents", [])]
    found = [Tried(LAYER, PREFIX, key, None if _PREFIXED.match(key) else f"{key} is under no tenant") for key in keys]
    theirs = [key for key in keys if key.startswith(f"{victim.tenant_id}/")]
    if not theirs:
        found.append(Tried(LAYER, PREFIX, "the other tenant's own", "it has no objects: nothing was proven"))
    for key in theirs[:3]:
        for name, stranger in (("anonymous", _client(environment)), ("wrong key", _client(environment, "no", "body"))):
            found.append(Tried(LAYER, ANONYMOUS, f"{name}: {key}", _read(stranger, bucket, key)))
    marks = [mark.encode() for mark in victim.marks]
    for key in [key for key in keys if key not in set(theirs)][-MOST:]:
        content = store.get_object(Bucket=bucket, Key=key)["Body"].read()
        leak = f"{key} holds content of the other tenant" if any(mark in content for mark in marks) else None
        found.append(Tried(LAYER, MARKS, key, leak))
    return found


def _read(client: Any, bucket: str, key: str) -> str | None:
    try:
        client.get_object(Bucket=bucket, Key=key)
    except ClientError:
        return None
    return f"{key} can be read"


def _client(environment: Mapping[str, str], key: str | None = None, secret: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=environment["S3_ENDPOINT_URL"],
        region_name=environment.get("S3_REGION", "us-east-1"),
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4" if key else UNSIGNED, s3={"addressing_style": "path"}),
    )
