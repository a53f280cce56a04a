"""Runs blocking calls beside the event loop: few at a time, and none of them can hold up the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class NoThreadFree(Exception):
    """Every thread was busy for as long as the caller would wait."""


class DaemonThreads:
    """A pool of one's own. Unlike those of an executor its threads are daemons: a call that hangs does not delay exit.

    A caller that gives up does not free the place of its call; that happens when the call returns.
    """

    def __init__(self, name: str, limit: int, patience: float) -> None:
        self._name = name
        self._slots = asyncio.Semaphore(limit)
        self._patience = patience

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, or what it raises."""
        try:
            async with asyncio.timeout(self._patience):
                await self._slots.acquire()
        except TimeoutError:
            raise NoThreadFree(f"every thread of {self._name} was busy for {self._patience:g} s") from None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: Any, failure: BaseException | None) -> None:
            self._slots.release()
            if future.done():
                return
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

        def job() -> None:
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=job, name=self._name, daemon=True).start()
        return await future
