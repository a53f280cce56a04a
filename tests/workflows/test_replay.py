"""Histories of runs that began under an earlier version of the workflow replay under this one.

When a stored history fails, the change would break every run in progress: guard it with `workflow.patched`. After a
change that does not, add histories of it: `RECORD_HISTORIES=1 pytest tests/workflows/test_replay.py -k recorded`
writes those of scenarios that have none.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from libs.clients.temporal import CONVERTER
from libs.contracts.workflow import AGENT_RUN, RunRef
from services.worker.workflows.agent_run import AgentRunWorkflow
from tests.workflows.scenarios import SCENARIOS
from tests.workflows.scripted_steps import Stage

TRACES = re.compile(r'"stackTrace": "(?:[^"\\]|\\.)*"')  # they hold paths of the machine
STORED = sorted((Path(__file__).parent / "histories").glob("*.json"))


@workflow.defn(name=AGENT_RUN)
class WaitsFirst(AgentRunWorkflow):
    """A careless change: it sleeps before its first step."""

    @workflow.run
    async def run(self, run: RunRef) -> None:
        await workflow.sleep(1)
        await super().run(run)


@workflow.defn(name=AGENT_RUN)
class AsksOnce(AgentRunWorkflow):
    """Another one: it ends after its first step."""

    @workflow.run
    async def run(self, run: RunRef) -> None:
        await workflow.execute_activity("take_turn", start_to_close_timeout=self.heartbeat_timeout)


async def replay(history: WorkflowHistory, changed: type = AgentRunWorkflow) -> None:
    replayer = Replayer(workflows=[changed], workflow_runner=UnsandboxedWorkflowRunner(), data_converter=CONVERTER)
    await replayer.replay_workflow(history)


def read(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json("run/00000000-0000-0000-0000-000000000001/stored", path.read_text())


def test_there_are_histories_of_every_scenario() -> None:
    assert set(SCENARIOS) <= {path.stem for path in STORED}


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
async def test_a_stored_history_replays(path: Path) -> None:
    await replay(read(path))


@pytest.mark.parametrize("changed", [WaitsFirst, AsksOnce])
@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
async def test_a_careless_change_is_caught(path: Path, changed: type) -> None:
    with pytest.raises(NondeterminismError):
        await replay(read(path), changed)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_what_is_recorded_now_replays(name: str, stage: Stage) -> None:
    history = await (await SCENARIOS[name](stage)).fetch_history()
    await replay(history)
    path = Path(__file__).parent / "histories" / f"{name}.json"
    if "RECORD_HISTORIES" in os.environ and not path.exists():
        text = json.dumps(history.to_json_dict(), indent=1, sort_keys=True) + "\n"
        path.write_text(TRACES.sub('"stackTrace": ""', text))
