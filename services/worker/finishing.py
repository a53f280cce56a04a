"""The end that no turn could write."""

from __future__ import annotations

import logging

from libs.contracts.workflow import CANCEL_REQUESTED, EndRequest
from libs.database.engine import is_unavailable
from libs.database.steps import Change
from libs.domain import events
from libs.domain.errors import DependencyUnavailable, Failure
from libs.domain.events import NewEvent
from services.worker.bench import Workbench
from services.worker.endings import Endings
from services.worker.journal import RunVanished, View
from services.worker.keys import RunKey

logger = logging.getLogger(__name__)


async def finish(bench: Workbench, run: RunKey, request: EndRequest) -> None:
    """Bring the row to its end. An end that is there stays, and a committed cancel is preferred."""
    endings = Endings(bench)
    while True:
        view = await bench.journal.load(run)
        if view.state.finished:
            bench.journal.forget(run)
            return
        if request.code == CANCEL_REQUESTED:
            if await _ask_cancel(bench, view):
                return
            continue
        view = await endings.quiet(view)
        if view.state.desired == "cancelled":
            await endings.end(view, "cancelled")
        else:
            await endings.end(view, "failed", Failure(request.code, request.message))


async def finish_one_of_many(bench: Workbench, run: RunKey, request: EndRequest) -> None:
    """For loops over the runs of every tenant: one that is gone or cannot be read takes no worker with it.

    It is tried again at the next look. A database that is away is raised: no other run can be ended then.
    """
    try:
        await finish(bench, run, request)
    except RunVanished:
        return
    except Exception as error:
        if is_unavailable(error):
            raise
        expected = isinstance(error, DependencyUnavailable)
        logger.log(
            logging.WARNING if expected else logging.ERROR,
            "a run cannot be ended now: %s",
            type(error).__name__,
            exc_info=None if expected else error,
            extra={"run_id": str(run.run_id)},
        )


async def _ask_cancel(bench: Workbench, view: View) -> bool:
    """A person cancelled the workflow in Temporal's own UI: make that what is asked of the run."""
    if view.state.desired == "cancelled":
        return True
    change = Change(
        (NewEvent(events.RUN_CANCELLING, {"by": "temporal", "reason": "cancelled in Temporal"}),),
        require_control=view.state.control_seq,
        desired="cancelled",
        status="cancelling",
    )
    return await bench.journal.commit(view, change) is not None
