"""A backup is taken while runs are in progress, everything is lost, and the restored platform goes on."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import Any
from uuid import UUID

import boto3
import pytest
from agent_runtime import AsyncClient
from temporalio.client import Client, WorkflowExecutionStatus

from deploy.demo.model_control import ModelControl
from libs.domain.ids import workflow_id
from tests.conformance.operations.installation import Installation
from tests.fixtures.platform import PROVIDER, eventually

pytestmark = pytest.mark.timeout(250)
LARGE = "A long answer. " * 20_000  # becomes an object


async def agent(api: AsyncClient, model: ModelControl, name: str, turns: list[dict[str, Any]]) -> str:
    await model.add(name, turns)
    await api.agents.create(name, {"model": f"{PROVIDER}/{name}"})
    return name


async def begun(api: AsyncClient, model: ModelControl, name: str, turns: list[dict[str, Any]]) -> str:
    """A run that waits for its model."""
    run = await api.runs.start(await agent(api, model, name, turns), "hello")
    await model.requests(name, state="held", wait=20)
    return run.id


def forget_temporal(installation: Installation) -> None:
    """Its newest state is lost: what it has is from before."""
    home = installation.stack.state.path / "temporal"
    for file in home.glob("temporal.db*"):
        file.unlink()
    for file in (installation.directory / "older").iterdir():
        shutil.copy2(file, home / file.name)


def lose_everything(installation: Installation) -> None:
    """No bucket, as on a new machine, and an older Temporal; `restore` drops the database itself."""
    stack = installation.stack
    stack.stop_service("temporal")
    forget_temporal(installation)
    given = {name: value for name, value in stack.environment().items() if name.startswith("S3_")}
    store = boto3.client(
        "s3",
        endpoint_url=given["S3_ENDPOINT_URL"],
        region_name=given["S3_REGION"],
        aws_access_key_id=given["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=given["S3_SECRET_ACCESS_KEY"],
    )
    lost = store.list_objects_v2(Bucket=given["S3_BUCKET"])["Contents"]
    assert lost
    for each in lost:
        store.delete_object(Bucket=given["S3_BUCKET"], Key=each["Key"])
    store.delete_bucket(Bucket=given["S3_BUCKET"])


def keep_temporal(installation: Installation) -> None:
    stack = installation.stack
    stack.stop_service("temporal")
    older = installation.directory / "older"
    older.mkdir()
    for file in (stack.state.path / "temporal").glob("temporal.db*"):
        shutil.copy2(file, older / file.name)
    stack.start_service("temporal")


async def test_a_restored_platform_goes_on_also_with_an_older_temporal(installation: Installation) -> None:
    held = {"content": "Late.", "hold_after_chunks": 1, "hold_times": 1}
    async with installation.model() as model:
        async with installation.client() as api:
            await api.secrets.put("crm", "value-of-the-secret")
            done = await api.runs.run(await agent(api, model, "large", [{"content": LARGE}]), "hello")
            before = await begun(api, model, "before", [held])
            keep_temporal(installation)
            after = await begun(api, model, "after", [held])  # a workflow that the kept Temporal has never seen
            paused = await begun(api, model, "paused", [held])
            await api.runs.pause(paused)
            installation.run("backup")
            lost = await begun(api, model, "lost", [held])  # accepted after the backup

        lose_everything(installation)
        assert "objects were copied from" in installation.run("restore")

        async with installation.client() as api:
            assert (await api.runs.get(done.id)).output == LARGE
            for run in (before, after):
                ended = await api.runs.wait(run, timeout=40)
                assert (ended.status, ended.output) == ("completed", "Late.")
            await api.runs.resume(paused)
            assert (await api.runs.wait(paused, timeout=40)).status == "completed"
            assert [each.name async for each in api.secrets.list()] == ["crm"]
            new = await api.runs.run(await agent(api, model, "new", [{"content": "New."}]), "hello")
            assert new.output == "New."
            assert lost not in {each.id async for each in api.runs.list()}
    async with installation.records() as records:
        for run in (done.id, before, after, paused, new.id):
            record = await records.run(run)
            record.check()
            assert Counter(record.types)["run.started"] == 1


async def test_a_restored_platform_goes_on_with_a_newer_temporal(installation: Installation) -> None:
    """Temporal knows ends that the database does not, and runs that it does not: neither stays."""
    held = {"content": "Late.", "hold_after_chunks": 1, "hold_times": 1}
    async with installation.model() as model:
        async with installation.client() as api:
            run = await begun(api, model, "rolled-back", [held])
            installation.run("backup")
            await model.release("rolled-back")
            await api.runs.wait(run, timeout=40)
            orphan = await begun(api, model, "orphan", [held])
        temporal = await Client.connect(installation.stack.environment()["TEMPORAL_ADDRESS"])
        workflow = temporal.get_workflow_handle(workflow_id(UUID(installation.tenant_id), UUID(orphan)))
        assert (await workflow.describe()).status is WorkflowExecutionStatus.RUNNING

        installation.run("restore")

        async with installation.client() as api:
            assert (await api.runs.get(run)).status != "completed"
            assert (await api.runs.wait(run, timeout=40)).output == "Late."

    async def closed() -> bool:
        return (await workflow.describe()).status is not WorkflowExecutionStatus.RUNNING

    await eventually(closed, 40)
    async with installation.records() as records:
        (await records.run(run)).check()
