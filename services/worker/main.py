"""`python -m services.worker.main`: the execution plane, one process."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import uvloop
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.workflow import NondeterminismError

from libs.clients import temporal
from libs.clients.event_stream import EventStream
from libs.clients.live_keys import LiveKeys
from libs.clients.object_store import ObjectStore
from libs.clients.openai import Models
from libs.clients.sealing import KeyRing
from libs.clients.temporal import Temporal
from libs.contracts.workflow import SUSPECTS
from libs.database.engine import Database, is_unavailable
from libs.domain.errors import DependencyUnavailable
from libs.domain.tool_specs import ToolSpec
from libs.observability import logs, metrics
from libs.observability.tracing import open_tracing
from libs.settings.models import load_providers
from libs.settings.traces import Destinations, load_destinations
from libs.tools.addresses import EgressPolicy
from libs.tools.egress import Egress
from libs.tools.registry import build_tools
from services.worker.activities.steps import StepActivities
from services.worker.admissions import Admissions
from services.worker.backlog import Backlog
from services.worker.bench import Workbench
from services.worker.control import ControlWatch
from services.worker.erasing.collector import Collector
from services.worker.erasing.eraser import Eraser
from services.worker.erasing.stores import Stores
from services.worker.health import health_server
from services.worker.journal import Journal
from services.worker.leaving import hand_over
from services.worker.liveness import Liveness
from services.worker.metering import Meter
from services.worker.observing import Observer
from services.worker.prices import PriceBook
from services.worker.reconciler import Reconciler
from services.worker.rerating import ReRater
from services.worker.sealer import Sealer
from services.worker.settings import WorkerSettings
from services.worker.specs import BuildTools, Functions, Specs
from services.worker.suspects import SUSPECT, SuspectActivities, make_step
from services.worker.vault import Vault
from services.worker.workflows.agent_run import AgentRunWorkflow

logger = logging.getLogger(__name__)
MODULE = "services.worker.main"
CONNECT_PAUSE = 0.5  # seconds


class Process:
    """Everything that one worker process is made of."""

    def __init__(self, settings: WorkerSettings, build: BuildTools) -> None:
        self.settings = settings
        self.database = Database.open(settings)
        self.live = EventStream.open(settings)
        self.live_keys = LiveKeys(settings)
        self.control = ControlWatch(self.database)
        self.liveness = Liveness(
            self.database,
            settings.worker_name,
            settings.temporal_task_queue,
            settings.worker_dead_after_seconds,
            settings.renew_seconds,
        )
        providers = load_providers(settings.model_providers_file)
        self.objects = ObjectStore(settings)
        self.tracing = open_tracing(settings, "agent-runtime-worker", self.liveness.label)
        self.models = Models(providers, settings)
        self.prices = PriceBook(self.database, providers)
        meter = Meter((name, model) for name, provider in providers.items() for model in provider.models)
        self.bench = Workbench(
            Journal(self.database, self.objects, Specs(self.database, build), self.live, meter),
            self.models,
            self.prices,
            self.liveness,
            self.objects,
            self.live,
            Vault(self.database, KeyRing.parse(settings.secrets_keys)),
            Observer(meter, self.tracing),
            settings.worker_slice_seconds,
            settings.model_attempts,
        )
        self.activities = StepActivities(self.bench, self.control)
        self.destinations = load_destinations(settings)

    async def start(self, tasks: Background) -> None:
        """Make this process known, then keep it so. Waits for the database."""
        self.live.start()
        self.live.on_control(lambda tenant_id, run_id: self.control.hint())
        while True:
            try:
                await self.liveness.start()
                await self.prices.start()
                break
            except Exception as error:
                if not is_unavailable(error):
                    raise
                logger.warning("waiting for the database")
                await asyncio.sleep(CONNECT_PAUSE)
        tasks.start(
            self.liveness.keep_alive(),
            self.control.poll(),
            self.prices.refresh(),
            self._meet_object_store(),
            metrics.watch_loop_lag(),
        )

    async def _meet_object_store(self) -> None:
        """The first call of a process makes its client, which takes a second."""
        with suppress(DependencyUnavailable):
            await self.objects.check()

    async def close(self) -> None:
        await self.liveness.leave()
        await self.live.close()
        await self.live_keys.close()
        await self.models.close()
        await self.tracing.close()
        await self.database.close()


class Background:
    """Tasks that end with the process; one that fails ends it: hanging is worse than dead."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *work: Coroutine[Any, Any, None]) -> None:
        self._tasks += [self._group.create_task(coroutine) for coroutine in work]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


async def serve(settings: WorkerSettings, build: BuildTools, module: str) -> None:
    """Work until SIGTERM or SIGINT; then hand everything over and leave."""
    process = Process(settings, build)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    ready = False
    try:
        async with asyncio.TaskGroup() as group:
            background = Background(group)
            if settings.worker_metrics_port is not None:
                server = health_server(settings.worker_metrics_host, settings.worker_metrics_port, lambda: ready)
                background.start(server.serve())
            starting = group.create_task(_started(process, background, module))
            await _first(starting, stopped)
            if starting.done() and not stopped.is_set():
                workers = starting.result()
                ready = True
                logger.info("ready", extra={"fields": {"worker": process.liveness.label}})
                serving = [group.create_task(worker.run()) for worker in workers]
                await stopped.wait()
                logger.info("stopping: steps in progress go to other workers")
                await hand_over(workers, serving, process.control)
            starting.cancel()
            background.stop()
    finally:
        await process.close()


async def _first(task: asyncio.Task[Any], event: asyncio.Event) -> None:
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _started(process: Process, background: Background, module: str) -> list[Worker]:
    await process.start(background)
    background.start(Sealer(process.database, process.settings.worker_seal_seconds).work())
    client = await _connected(process.settings)
    settings, temporal_client = process.settings, Temporal(process.settings, client, process.tracing.starting)
    reconciler = Reconciler(process.database, temporal_client, process.bench, settings.worker_reconcile_seconds)
    admissions = Admissions(process.database, temporal_client, process.bench, settings.worker_admit_seconds)
    process.bench.journal.wakes.on_freed(admissions.freed)
    eraser = Eraser(
        process.database,
        Stores(process.objects, process.live_keys, temporal_client),
        settings.worker_erase_seconds,
    )
    rerater = ReRater(process.database)
    collector = Collector(process.database, process.objects, settings.worker_erase_seconds)
    background.start(reconciler.work(), admissions.work(), eraser.work(), collector.work(), rerater.work())
    if settings.worker_backlog_seconds is not None:
        background.start(Backlog(temporal_client, settings.worker_backlog_seconds).work())
    if process.destinations is not None:
        background.start(_traces(process, process.destinations))
    return _workers(process, client, module)


def _traces(process: Process, destinations: Destinations) -> Coroutine[Any, Any, None]:
    """The projection of runs to where their traces go."""
    # protobuf and what it describes are loaded only where traces are sent
    exporter = importlib.import_module("services.worker.exporting.exporter")
    work: Coroutine[Any, Any, None] = exporter.Exporter(
        process.database, process.objects, process.settings, destinations
    ).work()
    return work


async def _connected(settings: WorkerSettings) -> Client:
    """A client, as soon as Temporal is there."""
    while True:
        try:
            return await asyncio.wait_for(temporal.connect(settings), 5)
        except (RuntimeError, RPCError, TimeoutError, OSError):
            logger.warning("waiting for Temporal at %s", settings.temporal_address)
            await asyncio.sleep(CONNECT_PAUSE)


def _workers(process: Process, client: Client, module: str) -> list[Worker]:
    """One for the platform's queue, one for each queue of tools, one for suspects."""
    settings = process.settings
    AgentRunWorkflow.heartbeat_timeout = settings.heartbeat_timeout
    steps = process.activities
    common: dict[str, Any] = {
        "max_heartbeat_throttle_interval": settings.heartbeat_timeout / 8,
        "default_heartbeat_throttle_interval": settings.heartbeat_timeout / 8,
        "graceful_shutdown_timeout": settings.grace,
    }
    main = Worker(
        client,
        task_queue=settings.temporal_task_queue,
        workflows=[AgentRunWorkflow],
        activities=[steps.take_turn, steps.run_tool, steps.finish_run],
        workflow_runner=UnsandboxedWorkflowRunner(),
        workflow_failure_exception_types=[NondeterminismError],
        max_concurrent_activities=settings.worker_max_concurrent_steps,
        sticky_queue_schedule_to_start_timeout=settings.sticky_timeout,
        **common,
    )
    suspects = SuspectActivities(process.control, module)
    suspicious = Worker(
        client,
        task_queue=settings.temporal_task_queue + SUSPECTS,
        activities=[suspects.take_turn, suspects.run_tool],
        max_concurrent_activities=1,
        **common,
    )
    own = [
        Worker(
            client,
            task_queue=queue,
            activities=[steps.run_tool],
            max_concurrent_activities=settings.worker_max_concurrent_steps,
            **common,
        )
        for queue in settings.tool_queues
    ]
    return [main, suspicious, *own]


async def serve_suspect(settings: WorkerSettings, build: BuildTools, step: Sequence[str]) -> None:
    """Make the one step that stands on standard input; `step` is its name, tenant and run."""
    process = Process(settings, build)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.control.leave)
    try:
        async with asyncio.TaskGroup() as group:
            background = Background(group)
            await process.start(background)
            await make_step(process.activities, *step)
            background.stop()
    finally:
        await process.close()


def run(build: BuildTools | None = None, module: str = MODULE, arguments: Sequence[str] = ()) -> None:
    """The program. `build` and `module` let a deployment bring tools of its own."""
    settings = WorkerSettings()
    gc.freeze()  # what was imported stays: it is not to be looked at again and again
    logs.configure("worker", settings.log_level)
    logs.warn_of_development(settings.development_secrets)
    build = build or tools_of_the_platform(settings)
    if arguments and arguments[0] == SUSPECT:
        uvloop.run(serve_suspect(settings, build, arguments[1:]))
    else:
        uvloop.run(serve(settings, build, module))


def tools_of_the_platform(settings: WorkerSettings) -> BuildTools:
    """The tools in `libs.tools`, all behind one egress guard."""
    egress: list[Egress] = []

    def build(declared: Sequence[ToolSpec]) -> Functions:
        if not egress:  # made inside the running loop
            egress.append(Egress(EgressPolicy.parse(settings.egress_allow)))
        return build_tools(declared, egress[0])

    return build


if __name__ == "__main__":
    run(arguments=sys.argv[1:])
