"""A workflow that this code cannot replay closes, and its run is started again from the log, by a real worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus

from libs.contracts.workflow import AGENT_RUN, RunRef
from libs.database.engine import Database
from libs.database.steps import Change
from libs.domain.events import NewEvent
from libs.domain.ids import workflow_id
from libs.settings.database import DatabaseSettings
from services.worker.workflows.agent_run import AgentRunWorkflow
from tests.fixtures.stack import TestServers
from tests.integration.database.rows import Household, new_household, sql
from tests.workflows.scripted_steps import ScriptedSteps, Stage

NAME = "restarting-worker"


@workflow.defn(name=AGENT_RUN)
class AnotherWorkflow(AgentRunWorkflow):
    """What a run in progress was conducted by before a careless deploy."""

    @workflow.run
    async def run(self, run: RunRef) -> None:
        await workflow.sleep(timedelta(hours=1))
        await super().run(run)


@pytest.fixture
async def home(servers: TestServers, environment: dict[str, str]) -> AsyncIterator[Household]:
    values: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
    database = Database.open(DatabaseSettings(**values))
    yield await new_household(database)
    await database.close()


@pytest.fixture
async def environment(servers: TestServers) -> dict[str, str]:
    """A database and a queue of its own: a worker's reconciler looks after every run that it finds."""
    made = await asyncio.to_thread(servers.new_database, "restart")
    return {**made, "TEMPORAL_TASK_QUEUE": f"restart-{uuid4().hex}"}


async def test_a_workflow_that_cannot_be_replayed_is_started_again_from_the_log(
    servers: TestServers, environment: dict[str, str], home: Household, client: Client
) -> None:
    run = await home.run()
    await home.commit(run, Change((NewEvent("run.started", {}),), started=True, status="running"))
    stage = Stage(client)
    stage.queue = environment["TEMPORAL_TASK_QUEUE"]
    async with stage.worker(ScriptedSteps(), AnotherWorkflow):
        first = await client.start_workflow(
            AGENT_RUN,
            RunRef(str(home.tenant_id), str(run)),
            id=workflow_id(home.tenant_id, run),
            task_queue=stage.queue,
        )
        async for event in first.fetch_history_events(wait_new_event=True):
            if event.HasField("timer_started_event_attributes"):
                break
    await home.signal(run, "cancel")
    await asyncio.to_thread(servers.stack.add_worker, NAME, environment=environment)
    try:
        give_up = time.monotonic() + 60
        while not (await home.load(run)).state.finished:
            assert time.monotonic() < give_up, "the run was left behind"
            await look_soon(home)
            await asyncio.sleep(0.3)
    finally:
        await asyncio.to_thread(servers.stack.stop_service, NAME)
    assert (await home.load(run)).state.status == "cancelled"
    assert (await client.get_workflow_handle(first.id, run_id=first.first_execution_run_id).describe()).status is (
        WorkflowExecutionStatus.FAILED
    )


async def look_soon(home: Household) -> None:
    """The reconciler's looks come later each time; here they are all due."""
    async with home.database.maintenance() as connection:
        await sql(connection, "UPDATE runs SET next_check_at = clock_timestamp() WHERE finished_at IS NULL")
