"""Live events over Redis: wake-ups and deltas out, from a queue that nobody waits for, and in, over one connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias
from uuid import UUID

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from libs.clients.breaker import Breaker
from libs.clients.event_subscription import Listener, Subscriptions, read_delta
from libs.contracts.live import CONTROL_CHANNEL, DELTA_LENGTH, DELTA_SECONDS, Delta, delta_stream, wake_channel
from libs.domain.errors import DependencyUnavailable
from libs.settings.redis import RedisSettings

logger = logging.getLogger(__name__)

CALL_SECONDS = 0.1
CONNECT_SECONDS = 1.0
QUEUE_LENGTH = 10_000
BATCH = 256
EXPIRE_EVERY = 32  # deltas of an attempt
FAILURES = (RedisError, OSError, TimeoutError)
Command: TypeAlias = tuple[Any, ...]


class EventStream:
    """What is published is dropped when Redis is slow or away: everything durable is read from PostgreSQL."""

    def __init__(self, settings: RedisSettings) -> None:
        self._client = connect(settings)
        self._breaker = Breaker()
        self._queue: deque[Command] = deque()
        self._filled = asyncio.Event()
        self._subscriptions = Subscriptions(self._client.connection_pool.make_connection)
        self._tasks: list[asyncio.Task[None]] = []
        self.dropped = 0

    @classmethod
    def open(cls, settings: RedisSettings) -> EventStream:
        """Connects when first used; never blocks."""
        return cls(settings)

    def start(self) -> None:
        """Begin to publish and to listen, in tasks of the running loop."""
        self._tasks = [asyncio.create_task(self._publish()), asyncio.create_task(self._subscriptions.run())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(*FAILURES):
            async with asyncio.timeout(CALL_SECONDS):
                await self._client.aclose()

    @property
    def live(self) -> bool:
        """Whether wake-ups arrive; while they do not, readers poll more often."""
        return self._subscriptions.live

    def wake(self, tenant_id: UUID, run_id: UUID, last_seq: int) -> None:
        """Tell whoever follows the run that its log reaches up to `last_seq`."""
        self._enqueue(("PUBLISH", wake_channel(tenant_id, run_id), f"e{last_seq}"))

    def delta(self, tenant_id: UUID, run_id: UUID, delta: Delta) -> None:
        """Pass on a piece of an answer in progress, and keep it for those who come later."""
        text = json.dumps(asdict(delta), separators=(",", ":"))
        stream = delta_stream(tenant_id, run_id)
        kept: list[Command] = [("XADD", stream, "MAXLEN", "~", DELTA_LENGTH, "*", "d", text)]
        if delta.index % EXPIRE_EVERY == 0:
            kept.append(("EXPIRE", stream, DELTA_SECONDS))
        self._enqueue(*kept, ("PUBLISH", wake_channel(tenant_id, run_id), f"d{text}"))

    def control(self, tenant_id: UUID, run_id: UUID) -> None:
        """Tell the workers that something is asked of the run."""
        self._enqueue(("PUBLISH", CONTROL_CHANNEL, f"{tenant_id}/{run_id}"))

    def subscribe(self, tenant_id: UUID, run_id: UUID, listener: Listener) -> Callable[[], None]:
        """Hear of a run from now on; call what is returned to stop."""
        return self._subscriptions.add(wake_channel(tenant_id, run_id), listener)

    def on_control(self, listener: Callable[[UUID, UUID], None]) -> None:
        """Hear of every run of which something is asked: tenant and run."""
        self._subscriptions.on_control(listener)

    async def deltas(self, tenant_id: UUID, run_id: UUID) -> list[Delta]:
        """The pieces kept of the run; none while Redis is away."""
        if not self._breaker.allows():
            return []
        try:
            async with asyncio.timeout(CALL_SECONDS):
                entries: Any = await self._client.xrange(delta_stream(tenant_id, run_id))
        except FAILURES:
            self._breaker.failed()
            return []
        except BaseException:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return [delta for _, fields in entries if (delta := read_delta(fields.get(b"d", b"")))]

    async def check(self) -> None:
        """Raises DependencyUnavailable unless Redis answers."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._client.ping()
        except FAILURES as error:
            raise DependencyUnavailable("redis", f"Redis does not answer: {type(error).__name__}.") from error

    def _enqueue(self, *commands: Command) -> None:
        if len(self._queue) + len(commands) > QUEUE_LENGTH:
            self.dropped += len(commands)
            return
        self._queue.extend(commands)
        self._filled.set()

    async def _publish(self) -> None:
        while True:
            await self._filled.wait()
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if not self._queue:
                self._filled.clear()
            if batch and self._breaker.allows():
                await self._send(batch)
            else:
                self.dropped += len(batch)

    async def _send(self, batch: list[Command]) -> None:
        # A probe may have to connect first, and only the queue waits for it.
        limit = CONNECT_SECONDS if self._breaker.open or not self._subscriptions.live else CALL_SECONDS
        try:
            async with asyncio.timeout(limit):
                pipeline = self._client.pipeline(transaction=False)
                for command in batch:
                    pipeline.execute_command(*command)
                await pipeline.execute(raise_on_error=False)
        except FAILURES as error:
            self.dropped += len(batch)
            was_open = self._breaker.open
            self._breaker.failed()
            if self._breaker.open and not was_open:
                logger.warning("Redis does not answer, live events are dropped: %s", type(error).__name__)
        else:
            self._breaker.succeeded()


def connect(settings: RedisSettings) -> redis.Redis:
    """A client that connects when it is first used, and tries nothing twice."""
    tls: dict[str, Any] = {"ssl_ca_certs": settings.redis_ca_file} if settings.redis_ca_file else {}
    return redis.Redis.from_url(
        settings.redis_url,
        username=settings.redis_username,
        password=settings.redis_password.get_secret_value() if settings.redis_password else None,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=CONNECT_SECONDS,
        max_connections=64,
        **tls,
    )
