"""Work that comes round beside the steps of runs: a round that fails is told, and the next one comes.

Whatever a round meets, the worker goes on. A row that nobody can deal with is in everybody's next round: it would end
one worker after another, and with them the runs of every tenant.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

import prometheus_client as metrics

from libs.database.engine import is_unavailable
from libs.domain.errors import DependencyUnavailable

logger = logging.getLogger(__name__)
FAILED = metrics.Counter("agent_runtime_rounds_failed_total", "Rounds that failed for a reason of their own", ["work"])


async def come_round(
    work: str,
    every: float,
    look: Callable[[], Awaitable[object]],
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> NoReturn:
    """Look every so many seconds, or somewhat sooner, until cancelled; `work` says in the log what it is."""
    FAILED.labels(work)  # there from the start: of a series that appears with 1, no increase is seen
    while True:
        await pause(every * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the workers, no secret
        try:
            await look()
        except DependencyUnavailable as error:
            logger.warning("%s: waits: %s", work, error.detail)
        except Exception as error:
            if is_unavailable(error):
                logger.warning("%s: waits: the database is away", work)
            else:
                FAILED.labels(work).inc()
                logger.error("%s: a round failed: %s", work, type(error).__name__, exc_info=error)
