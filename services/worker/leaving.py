"""How a worker stops: it asks for no more, hands its steps over, and leaves; also where Temporal does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from temporalio.worker import Worker

from services.worker.control import ControlWatch

logger = logging.getLogger(__name__)
SETTLE_SECONDS = 0.2  # for what the last returned steps have brought about to be given to a poll, and done
POLLS_END_SECONDS = 0.2  # that a Temporal which does not end polls by itself needs to hear that they are given up
UNHEARD_SECONDS = 5.0  # that Temporal has to take the last steps' results
LOOK_SECONDS = 0.1


async def hand_over(workers: Iterable[Worker], serving: Sequence[asyncio.Task[None]], control: ControlWatch) -> None:
    """Stop asking for work, and let no step return around that moment: what follows it would be given to this process.

    A workflow task that Temporal gives to a poll that is being closed is lost for its timeout, and one that arrives
    after the SDK was told to stop is dropped by it, should no other be there (`WFStream::shutdown_done`, seen in 1.35).
    Where `frontend.enableCancelWorkerPollsOnShutdown` is set Temporal ends the polls itself, and quickly.

    `serving` are the tasks in which the workers run: what is left of them when Temporal hangs is cancelled, and its
    timeouts do the rest.
    """
    control.hold()
    await asyncio.sleep(SETTLE_SECONDS)
    stopping = [asyncio.create_task(worker.shutdown()) for worker in workers]
    try:
        await asyncio.sleep(POLLS_END_SECONDS)
        control.leave()
        if not await _ended(serving, control):
            logger.warning("leaving without a word from Temporal: it does not answer")
    finally:
        for task in (*stopping, *serving):
            task.cancel()


async def _ended(serving: Sequence[asyncio.Task[None]], control: ControlWatch) -> bool:
    """Wait until all have ended, or until Temporal has not answered for a while and no step is in progress."""
    clock = asyncio.get_running_loop().time
    last_busy = clock()
    while clock() - last_busy < UNHEARD_SECONDS:
        if control.busy:
            last_busy = clock()
        _, left = await asyncio.wait(serving, timeout=LOOK_SECONDS)
        if not left:
            return True
    return False
