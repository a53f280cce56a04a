"""The listening side of live events: one connection for a whole process, a channel for each run that is followed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from redis.exceptions import RedisError

from libs.contracts.live import CONTROL_CHANNEL, Delta

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 1.0  # after so long a ping is sent, after as long again without an answer the connection is given up
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


@dataclass(frozen=True)
class Woken:
    """The run's log reaches up to `seq`."""

    seq: int


@dataclass(frozen=True)
class Confirmed:
    """From here on nothing is missed: what was committed before must be read once more."""


@dataclass(frozen=True)
class Lost:
    """Redis is away: nothing more will be heard until `Confirmed`."""


Message: TypeAlias = Woken | Delta | Confirmed | Lost
Listener: TypeAlias = Callable[[Message], None]


class Subscriptions:
    """Listeners by channel; they are called from the reading task and must not block."""

    def __init__(self, connection: Callable[[], Any]) -> None:
        self._new_connection = connection
        self._listeners: dict[str, list[Listener]] = {}
        self._control: list[Callable[[UUID, UUID], None]] = []
        self._confirmed: set[str] = set()
        self._commands: list[tuple[str, str]] = []
        self._changed = asyncio.Event()
        self.live = False

    def add(self, channel: str, listener: Listener) -> Callable[[], None]:
        listeners = self._listeners.setdefault(channel, [])
        listeners.append(listener)
        if len(listeners) == 1:
            self._command("SUBSCRIBE", channel)
        elif channel in self._confirmed:
            listener(Confirmed())
        return lambda: self._remove(channel, listener)

    def on_control(self, listener: Callable[[UUID, UUID], None]) -> None:
        self._control.append(listener)
        if len(self._control) == 1:
            self._command("SUBSCRIBE", CONTROL_CHANNEL)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause, told = FIRST_PAUSE, False
        while True:
            connection = self._new_connection()
            try:
                await connection.connect()
                self._start_over()
                pause, told = FIRST_PAUSE, False
                await self._serve(connection)
            except (RedisError, OSError, TimeoutError) as error:
                if self.live or not told:
                    logger.warning("no connection to Redis for live events: %s", type(error).__name__)
                told = True
            finally:
                self._lose()
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _remove(self, channel: str, listener: Listener) -> None:
        listeners = self._listeners.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[channel]
                self._confirmed.discard(channel)
                self._command("UNSUBSCRIBE", channel)

    def _command(self, verb: str, channel: str) -> None:
        if self.live:
            self._commands.append((verb, channel))
            self._changed.set()

    def _start_over(self) -> None:
        """A new connection is subscribed to nothing yet."""
        self.live = True
        channels = [*self._listeners, *([CONTROL_CHANNEL] if self._control else [])]
        self._commands = [("SUBSCRIBE", channel) for channel in channels]
        self._changed.set()

    def _lose(self) -> None:
        self._confirmed.clear()
        if self.live:
            self.live = False
            for channel in list(self._listeners):
                self._tell(channel, Lost())

    async def _serve(self, connection: Any) -> None:
        writing = asyncio.create_task(self._write(connection))
        reading = asyncio.create_task(self._read(connection))
        try:
            done, _ = await asyncio.wait((writing, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            writing.cancel()
            reading.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)

    async def _write(self, connection: Any) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            commands, self._commands = self._commands, []
            if commands:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)

    async def _read(self, connection: Any) -> None:
        pinged = False
        while True:
            response = await connection.read_response(timeout=SILENCE_SECONDS)
            if response is not None:
                pinged = False
                self._take(response)
            elif pinged:
                raise TimeoutError("no answer to a ping")
            else:
                pinged = True
                await connection.send_packed_command(connection.pack_command("PING"), check_health=False)

    def _take(self, response: Any) -> None:
        if not isinstance(response, list) or len(response) != 3:
            return
        kind, channel = response[0], bytes(response[1] or b"").decode()
        if kind == b"subscribe" and channel in self._listeners:
            self._confirmed.add(channel)
            self._tell(channel, Confirmed())
        elif kind == b"message" and channel == CONTROL_CHANNEL:
            self._tell_control(response[2])
        elif kind == b"message" and (message := _read(response[2])):
            self._tell(channel, message)

    def _tell(self, channel: str, message: Message) -> None:
        for listener in list(self._listeners.get(channel, ())):
            listener(message)

    def _tell_control(self, payload: bytes) -> None:
        with contextlib.suppress(ValueError):
            tenant, _, run = payload.decode().partition("/")
            ids = UUID(tenant), UUID(run)
            for listener in self._control:
                listener(*ids)


def _read(payload: bytes) -> Message | None:
    if payload[:1] == b"e" and payload[1:].isdigit():
        return Woken(int(payload[1:]))
    return read_delta(payload[1:]) if payload[:1] == b"d" else None


def read_delta(payload: bytes) -> Delta | None:
    """None for what is not a delta; fields of a newer version are ignored."""
    try:
        value = json.loads(payload)
        return Delta(
            int(value["turn"]), int(value["attempt"]), int(value["base_seq"]), int(value["index"]), str(value["text"])
        )
    except (ValueError, TypeError, KeyError):
        return None
