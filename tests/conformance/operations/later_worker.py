"""A worker of a release to come: it understands a newer log, and its workflow does what ours does not."""

from __future__ import annotations

import os

from temporalio import workflow

from libs.contracts.workflow import Step, TurnRequest
from libs.domain import agent_loop, events
from services.worker import main
from services.worker.workflows.agent_run import AgentRunWorkflow

MODULE = "tests.conformance.operations.later_worker"
UNDERSTANDS = events.LOG_VERSION + 1
_take_turn = AgentRunWorkflow._take_turn


async def _take_turn_after_a_moment(self: AgentRunWorkflow, request: TurnRequest) -> Step:
    """A command that the history of a run begun before does not have: it cannot be replayed."""
    await workflow.sleep(0.001)
    return await _take_turn(self, request)


def run() -> None:
    agent_loop.LOG_VERSION = events.LOG_VERSION = UNDERSTANDS  # type: ignore[attr-defined]  # imported there
    if os.environ.get("WORKFLOW") == "changed":
        AgentRunWorkflow._take_turn = _take_turn_after_a_moment  # type: ignore[method-assign]  # a later release's
    main.run()
