"""Temporal as the platform uses it: start a run's workflow, wake it, ask how it stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.converter import (
    AdvancedJSONEncoder,
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from libs.contracts.workflow import AGENT_RUN, WAKE, RunRef, Wake
from libs.domain.errors import DependencyUnavailable
from libs.domain.ids import workflow_id
from libs.settings.temporal import TemporalSettings

CALL_TIMEOUT = timedelta(seconds=2)
TASK_TIMEOUT = timedelta(seconds=5)  # of a workflow task; a frozen worker holds up what it was given for so long
RECONNECT_SECONDS = 1.0  # at most one connection attempt in so long
Around = Callable[[str], AbstractContextManager[object]]  # of the start of a run, by its id
TENANT = SearchAttributeKey.for_keyword("TenantId")


class _WithoutDefaults(AdvancedJSONEncoder):
    """Histories are long: a message's field that has its default is not written."""

    def default(self, o: Any) -> Any:
        if is_dataclass(o) and not isinstance(o, type):
            return {field.name: value for field in fields(o) if (value := getattr(o, field.name)) != _default(field)}
        return super().default(o)


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


class _PayloadConverter(CompositePayloadConverter):
    """The SDK's own, with a tighter JSON."""

    def __init__(self) -> None:
        others = [
            converter
            for converter in DefaultPayloadConverter.default_encoding_payload_converters
            if not isinstance(converter, JSONPlainPayloadConverter)
        ]
        super().__init__(*others, JSONPlainPayloadConverter(encoder=_WithoutDefaults))


CONVERTER = DataConverter(payload_converter_class=_PayloadConverter)


async def connect(settings: TemporalSettings) -> Client:
    """A connected client; raises what the SDK raises when the server is away."""
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=CONVERTER,
        tls=_tls(settings),
        api_key=settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None,
    )


def _tls(settings: TemporalSettings) -> TLSConfig | bool:
    def content(path: str | None) -> bytes | None:
        return Path(path).read_bytes() if path else None

    ca, certificate = content(settings.temporal_ca_file), content(settings.temporal_client_cert_file)
    if ca or certificate:
        key = content(settings.temporal_client_key_file)
        return TLSConfig(server_root_ca_cert=ca, client_cert=certificate, client_private_key=key)
    return settings.temporal_tls or settings.temporal_api_key is not None


class Execution(NamedTuple):
    """One execution of a workflow: a run that was started again has several."""

    workflow_id: str
    execution_id: str


class Temporal:
    """Starts and wakes workflows. It connects when first used, and again after a failure, never at construction."""

    def __init__(
        self, settings: TemporalSettings, client: Client | None = None, around_start: Around = nullcontext
    ) -> None:
        self._settings = settings
        self._client = client
        self._around_start = around_start
        self._lock = asyncio.Lock()
        self._failed_at = float("-inf")

    @classmethod
    def open(cls, settings: TemporalSettings, around_start: Around = nullcontext) -> Temporal:
        return cls(settings, around_start=around_start)

    async def start_agent_run(self, run: RunRef, priority: int) -> None:
        """Start the run's workflow; harmless when it runs already, since the log says where the run stands.

        Raises:
            DependencyUnavailable: Temporal did not answer; the reconciler will start it.
        """
        with self._around_start(run.run_id):
            await self._start(run, priority)

    async def _start(self, run: RunRef, priority: int) -> None:
        client = await self._connected()
        try:
            await client.start_workflow(
                AGENT_RUN,
                run,
                id=_id(run),
                task_queue=self._settings.temporal_task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=TypedSearchAttributes([SearchAttributePair(TENANT, run.tenant_id)]),
                priority=Priority(priority_key=priority, fairness_key=run.tenant_id),
                task_timeout=TASK_TIMEOUT,
                rpc_timeout=CALL_TIMEOUT,
            )
        except RPCError as error:
            raise _unavailable(error) from error

    async def wake(self, run: RunRef, wake: Wake) -> bool:
        """Signal the run's workflow; False when no workflow is open.

        Raises:
            DependencyUnavailable: Temporal did not answer; the reconciler will signal again.
        """
        client = await self._connected()
        try:
            await client.get_workflow_handle(_id(run)).signal(WAKE, wake, rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise _unavailable(error) from error
        return True

    async def status(self, run: RunRef) -> WorkflowExecutionStatus | None:
        """How the run's workflow stands; None when there is none.

        Raises:
            DependencyUnavailable: Temporal did not answer.
        """
        client = await self._connected()
        try:
            return (await client.get_workflow_handle(_id(run)).describe(rpc_timeout=CALL_TIMEOUT)).status
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise _unavailable(error) from error

    async def executions(self, tenant_id: UUID, run_id: UUID | None = None, most: int = 100) -> list[Execution]:
        """Executions of a run's workflow, or of all runs of a tenant, as far as visibility has heard of them."""
        client = await self._connected()
        query = f"TenantId = '{tenant_id}'" if run_id is None else f"WorkflowId = '{workflow_id(tenant_id, run_id)}'"
        found: list[Execution] = []
        try:
            async for each in client.list_workflows(query, limit=most, rpc_timeout=CALL_TIMEOUT):
                found.append(Execution(each.id, each.run_id))
            if run_id is not None and not found:  # visibility may lag behind
                described = await self._described(client, workflow_id(tenant_id, run_id))
                found += [described] if described else []
        except RPCError as error:
            raise _unavailable(error) from error
        return found

    async def delete(self, execution: Execution) -> None:
        """Terminate an execution, if it runs, and delete its history; one that is gone is no problem."""
        client = await self._connected()
        request = DeleteWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=execution.workflow_id, run_id=execution.execution_id),
        )
        try:
            await client.workflow_service.delete_workflow_execution(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise _unavailable(error) from error

    async def backlog(self) -> int:
        """Tasks of the platform's queue that wait for a worker, about."""
        client = await self._connected()
        waiting = 0
        try:
            for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
                request = DescribeTaskQueueRequest(
                    namespace=client.namespace,
                    task_queue=TaskQueue(name=self._settings.temporal_task_queue),
                    task_queue_type=kind,
                    report_stats=True,
                )
                answer = await client.workflow_service.describe_task_queue(request, timeout=CALL_TIMEOUT)
                waiting += answer.stats.approximate_backlog_count
        except RPCError as error:
            raise _unavailable(error) from error
        return waiting

    async def _described(self, client: Client, id_: str) -> Execution | None:
        try:
            found = await client.get_workflow_handle(id_).describe(rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        return Execution(found.id, found.run_id)

    async def check(self) -> None:
        """Raises DependencyUnavailable unless the frontend answers."""
        client = await self._connected()
        try:
            alive = await client.service_client.check_health(timeout=CALL_TIMEOUT)
        except RPCError as error:
            raise _unavailable(error) from error
        if not alive:
            raise DependencyUnavailable("temporal", "Temporal's frontend is not serving.")

    async def _connected(self) -> Client:
        if self._client is None:
            async with self._lock:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def _connect(self) -> Client:
        if time.monotonic() - self._failed_at < RECONNECT_SECONDS:
            raise DependencyUnavailable("temporal", "Temporal cannot be reached.")
        try:
            return await asyncio.wait_for(connect(self._settings), CALL_TIMEOUT.total_seconds())
        except (RuntimeError, RPCError, TimeoutError, OSError) as error:
            self._failed_at = time.monotonic()
            detail = f"Temporal cannot be reached at {self._settings.temporal_address}."
            raise DependencyUnavailable("temporal", detail) from error


def _id(run: RunRef) -> str:
    return workflow_id(UUID(run.tenant_id), UUID(run.run_id))


def _unavailable(error: RPCError) -> DependencyUnavailable:
    return DependencyUnavailable("temporal", f"Temporal answered {error.status.name}.")
