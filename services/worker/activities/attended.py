"""What every activity has around its work: heartbeats, cancellation as a hint, and failures without content."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from libs.contracts.workflow import FINISH_RUN
from libs.database.engine import is_unavailable
from libs.database.steps import Unstorable
from libs.domain.errors import DependencyUnavailable
from libs.domain.events import UnknownEvent
from services.worker.control import Watched
from services.worker.trying import TryAgain

logger = logging.getLogger(__name__)
T = TypeVar("T")
UNEXPECTED_AT_MOST = 10  # attempts, before a failure that nobody expected ends the run


async def attended(work: Coroutine[Any, Any, T], watched: Watched) -> T:
    """The work's result.

    A cancellation by Temporal may be a mistake of a server that was away: it only makes the work read the run's row.
    """
    task = asyncio.create_task(work)
    beating = asyncio.create_task(_beat())
    try:
        while True:
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                details = activity.cancellation_details()
                if task.cancelled() or (details is not None and details.worker_shutdown):
                    raise
                watched.hint()
    except Exception as error:
        raise reported(error) from None
    finally:
        beating.cancel()
        task.cancel()


async def _beat() -> None:
    timeout = activity.info().heartbeat_timeout or timedelta(seconds=10)
    while True:
        await asyncio.sleep(min(2.0, timeout.total_seconds() / 4))
        activity.heartbeat()


def reported(error: Exception) -> ApplicationError:
    """The failure as Temporal's history may hold it: no prompt, no output, no secret."""
    if isinstance(error, ApplicationError):
        return error
    if isinstance(error, TryAgain):
        return _again(error.code, str(error), error.after)
    if isinstance(error, UnknownEvent):
        return _again("log_is_newer", "The run's log needs a newer worker.", 1.0)
    if isinstance(error, DependencyUnavailable):
        return _again("dependency_unavailable", f"{error.dependency} does not answer.", 2.0)
    if is_unavailable(error):
        return _again("database_unavailable", "The database does not answer.", 1.0)
    if isinstance(error, Unstorable):
        return ApplicationError("The database refuses the data.", type="unstorable", non_retryable=True)
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a step failed unexpectedly: %s\n%s", type(error).__name__, frames)
    last = activity.in_activity() and activity.info().attempt >= UNEXPECTED_AT_MOST
    last = last and activity.info().activity_type != FINISH_RUN  # the end is tried until it is written
    return ApplicationError(f"Unexpected {type(error).__name__}.", type="internal", non_retryable=last)


def _again(code: str, message: str, after: float) -> ApplicationError:
    return ApplicationError(message, type=code, next_retry_delay=timedelta(seconds=after))
