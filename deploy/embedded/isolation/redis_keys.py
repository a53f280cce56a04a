"""Redis: what is of a tenant has its id in the key, no other key holds it, and nobody gets in without a password."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import redis.asyncio as client
from redis.exceptions import RedisError

from deploy.embedded.isolation.trying import Tried, Victim

LAYER = "Redis"
PREFIX, VALUES, ANONYMOUS = "keys without a tenant", "content under another tenant's key", "without a password"
_READS: dict[str, Callable[[bytes], tuple[Any, ...]]] = {
    "stream": lambda key: ("XRANGE", key, "-", "+"),
    "string": lambda key: ("GET", key),
    "hash": lambda key: ("HGETALL", key),
    "set": lambda key: ("SMEMBERS", key),
    "list": lambda key: ("LRANGE", key, 0, -1),
    "zset": lambda key: ("ZRANGE", key, 0, -1),
}


async def attacks(environment: Mapping[str, str], attacker: str, victim: Victim) -> AsyncIterator[Tried]:
    url = environment["REDIS_URL"]
    yield Tried(LAYER, ANONYMOUS, url, await _enters(url))
    known = client.from_url(url, username=environment.get("REDIS_USERNAME"), password=environment["REDIS_PASSWORD"])
    tenant = victim.tenant_id.encode()
    async with known:
        async for key in known.scan_iter():
            names = [run.encode() for run in victim.runs if run.encode() in key]
            leak = f"{key!r} is of the other tenant's run and does not say so" if names and tenant not in key else None
            yield Tried(LAYER, PREFIX, repr(key), leak)
            if tenant not in key:
                yield Tried(LAYER, VALUES, repr(key), await _holds(known, key, victim))


async def _enters(url: str) -> str | None:
    try:
        async with client.from_url(url) as stranger:
            entered: Any = stranger.ping()
            await entered
    except RedisError:
        return None
    return "it answers without a password"


async def _holds(known: Any, key: bytes, victim: Victim) -> str | None:
    kind = (await known.type(key)).decode()
    read = _READS.get(kind)
    content = repr(await known.execute_command(*read(key))) if read else ""
    marks = [mark for mark in victim.marks if mark in content]
    return f"{key!r} holds content of the other tenant" if marks else None
