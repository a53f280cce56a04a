"""Counters in Redis that several processes share, each for a short while."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import redis.asyncio as redis

from libs.clients.breaker import Breaker
from libs.clients.event_stream import CALL_SECONDS, FAILURES, connect
from libs.settings.redis import RedisSettings

logger = logging.getLogger(__name__)


class Counters:
    """Connects when first used. A call takes 100 ms at most, and while Redis is away mostly nothing."""

    def __init__(self, settings: RedisSettings) -> None:
        self._client: redis.Redis = connect(settings)
        self._breaker = Breaker()

    async def add(self, name: str, amount: int, seconds: int) -> int | None:
        """Add to a counter that is forgotten after so many seconds; its value, or None while Redis is away."""
        if not self._breaker.allows():
            return None
        try:
            async with asyncio.timeout(CALL_SECONDS):
                pipeline = self._client.pipeline(transaction=False)
                pipeline.incrby(name, amount)
                pipeline.expire(name, seconds)
                answers: list[Any] = await pipeline.execute()
        except FAILURES as error:
            was_open = self._breaker.open
            self._breaker.failed()
            if self._breaker.open and not was_open:
                logger.warning("Redis does not answer, requests are counted per process: %s", type(error).__name__)
            return None
        except BaseException:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return int(answers[0])

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._client.aclose()
        except FAILURES:
            return
