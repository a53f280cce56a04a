"""Workflows on the stack's Temporal, with activities that are scripted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client

from libs.clients.temporal import CONVERTER
from services.worker.workflows.agent_run import AgentRunWorkflow
from tests.fixtures.stack import TestServers
from tests.workflows.scripted_steps import Stage

HEARTBEAT_TIMEOUT = timedelta(seconds=0.6)


@pytest.fixture
async def client(servers: TestServers) -> Client:
    environment = servers.environment
    return await Client.connect(
        environment["TEMPORAL_ADDRESS"],
        namespace=environment["TEMPORAL_NAMESPACE"],
        data_converter=CONVERTER,
        identity="worker",
    )


@pytest.fixture
def stage(client: Client, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(AgentRunWorkflow, "heartbeat_timeout", HEARTBEAT_TIMEOUT)
    return Stage(client)
