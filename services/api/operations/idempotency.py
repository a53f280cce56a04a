"""Answer a repeated request as the first time; key and answer are kept in the transaction of the work itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import idempotency
from libs.database.engine import Database
from libs.database.idempotency import Key, KeyRow
from libs.domain.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from services.api.answers import Answer
from services.api.callers import Caller

Work: TypeAlias = Callable[[AsyncConnection], Awaitable[Answer]]


async def answer_once(database: Database, caller: Caller, key: Key | None, work: Work) -> Answer:
    """Do the work in one transaction, or give the answer that it had the first time.

    A request that is declined keeps no key: it may be sent again once its reason is gone.
    """
    async with database.tenant(caller.tenant_id) as connection:
        if key is None:
            return await work(connection)
        if not await idempotency.claim(connection, key):
            return await replay(connection, key)
        answer = await work(connection)
        await idempotency.record(connection, key, answer.status, answer.location, answer.body)
        return answer


async def answer_once_outside(
    database: Database,
    caller: Caller,
    key: Key | None,
    work: Callable[[], Awaitable[Answer]],
    kept: Callable[[str], str],
) -> Answer:
    """The same for work that speaks to other servers, outside of any transaction; `kept` takes secrets out of its body.

    A request that fails frees its key: repeating it goes on where it stood.
    """
    if key is None:
        return await work()
    async with database.tenant(caller.tenant_id) as connection:
        if not await idempotency.claim(connection, key):
            return await replay(connection, key)
    try:
        answer = await work()
        async with database.tenant(caller.tenant_id) as connection:
            await idempotency.record(connection, key, answer.status, answer.location, kept(answer.body))
    except BaseException:
        await asyncio.shield(_release(database, key))
        raise
    return answer


async def _release(database: Database, key: Key) -> None:
    async with database.tenant(key.tenant_id) as connection:
        await idempotency.release(connection, key)


async def replay(connection: AsyncConnection, key: Key) -> Answer:
    winner = await read_winner(connection, key)
    if winner.digest != key.digest:
        raise reused()
    return Answer(winner.status or 200, winner.response or "", winner.location, replayed=True)


async def read_winner(connection: AsyncConnection, key: Key) -> KeyRow:
    """What is kept under a key that somebody else claimed.

    Raises:
        IdempotencyKeyInUse: its request has not answered yet.
    """
    winner = await idempotency.read(connection, key)
    if winner is None or winner.status is None:
        raise IdempotencyKeyInUse(
            "The first request with this Idempotency-Key is still running. Try again in a second."
        )
    return winner


def reused() -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        "This Idempotency-Key came with another request before. Use a new key for a new request."
    )
