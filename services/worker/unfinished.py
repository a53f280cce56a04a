"""Tool calls whose activity ended without a result: they get one, under the call's own key."""

from __future__ import annotations

from collections.abc import Sequence

from libs.contracts.workflow import Unfinished
from libs.database.steps import Change
from libs.domain import events
from libs.domain.events import NewEvent
from libs.domain.outputs import Unacceptable
from libs.domain.run_log import Turn
from libs.domain.tools import Effect
from services.worker.bench import Workbench
from services.worker.journal import View
from services.worker.tool_steps import ToolSteps


class UnfinishedCalls:
    """What the workflow was left with is told to the model."""

    def __init__(self, bench: Workbench, tools: ToolSteps) -> None:
        self._bench = bench
        self._tools = tools

    async def record(self, view: View, unfinished: Sequence[Unfinished]) -> View:
        """Give calls whose activity ended without a result the result that the model can use."""
        journal = self._bench.journal
        for ended in unfinished:
            turn = view.log.turns[ended.turn - 1]
            if view.state.finished or ended.index in turn.results or ended.kind == "stopped":
                continue
            change = Change((self._ended(view, turn, ended),))
            view = await journal.commit(view, change) or await journal.load(view.run)
        return view

    def _ended(self, view: View, turn: Turn, ended: Unfinished) -> NewEvent:
        call = turn.calls[ended.index]
        attempt = turn.last_attempt(ended.index)
        number = attempt.number if attempt else 0
        if ended.kind in ("deadly", "lost"):
            message = f"Every worker that made the call of {call.name} died."
            return NewEvent(
                events.TOOL_COMPLETED,
                self._tools.given_up(turn.number, call, number, message).data
                | {"fatal": True, "message": message, "fatal_code": events.WORKER_LOST},
                events.tool_result(turn.number, ended.index),
            )
        try:
            prepared = self._tools.prepare(view, call)
        except Unacceptable as problem:
            return self._tools.given_up(turn.number, call, number, str(problem))
        if attempt is not None and attempt.open and prepared.function.effect is Effect.WRITE:
            return self._tools.unknown(turn.number, call, prepared.function, number)
        return self._tools.given_up(turn.number, call, number, f"it ended by {ended.kind}")
