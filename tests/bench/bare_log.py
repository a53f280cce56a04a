"""The least that a durable run with a live log costs: rows committed before and after the call, told and read back.

What any platform of this kind does, and nothing else: no tenants, tokens, keys, budgets, retries, or pieces of answers.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import redis.asyncio as redis

TABLES = """
CREATE TABLE IF NOT EXISTS bare_logged_runs (id uuid PRIMARY KEY DEFAULT uuidv7(), input text NOT NULL);
CREATE TABLE IF NOT EXISTS bare_events (
    run_id uuid REFERENCES bare_logged_runs, seq int, type text NOT NULL, data text NOT NULL, PRIMARY KEY (run_id, seq)
)
"""
CREATE = """
WITH run AS (INSERT INTO bare_logged_runs (input) VALUES ($1) RETURNING id)
INSERT INTO bare_events SELECT id, 1, 'run.queued', '{}' FROM run RETURNING run_id
"""
APPEND = "INSERT INTO bare_events VALUES ($1, $2, $3, $4)"
READ = "SELECT seq, type, data FROM bare_events WHERE run_id = $1 AND seq > $2 ORDER BY seq"
END = "run.completed"


def open_redis() -> redis.Redis:
    return redis.Redis.from_url(os.environ["REDIS_URL"], password=os.environ.get("REDIS_PASSWORD"), protocol=2)


async def append(pool: asyncpg.Pool[Any], run: str, seq: int, kind: str, data: str) -> None:
    """Commit one event."""
    await pool.execute(APPEND, run, seq, kind, data)


class Followers:
    """Streams of this process, told over one connection."""

    def __init__(self, pool: asyncpg.Pool[Any], client: redis.Redis) -> None:
        self._pool = pool
        self._client = client
        self._told: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def listen(self) -> None:
        async with self._client.pubsub(ignore_subscribe_messages=True) as heard:
            await heard.psubscribe("bare:*")
            async for message in heard.listen():
                if (told := self._told.get(message["channel"].decode()[5:])) is not None:
                    told.set()

    async def stream(self, run: str) -> AsyncIterator[str]:
        """Server-Sent Events, from the first to the end of the run."""
        told, last, kind = self._told[run], 0, ""
        while kind != END:
            told.clear()
            rows = await self._pool.fetch(READ, run, last)
            if rows:
                last, kind = rows[-1]["seq"], rows[-1]["type"]
                yield "".join(f"id: {r['seq']}\nevent: {r['type']}\ndata: {r['data']}\n\n" for r in rows)
            else:
                await asyncio.wait_for(told.wait(), 10)
        del self._told[run]
