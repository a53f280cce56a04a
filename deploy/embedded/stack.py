"""A stack: servers, issuer, api and workers of one state directory; for the command line, demo, bench and tests."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.embedded.control import SUMMARY
from deploy.embedded.failures import NotRunning, StateRefused
from deploy.embedded.local_model import local_model_program
from deploy.embedded.logs import rotate
from deploy.embedded.memory import proportional_memory
from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.processes import Flag, Program, end_orphans, signal_process
from deploy.embedded.programs import api_program, migrate, program_environment, secrets_keys, worker_program
from deploy.embedded.providers import local_provider, providers_file, write_providers
from deploy.embedded.servers import Server, choose_servers
from deploy.embedded.service import Service
from deploy.embedded.state import StateDirectory, default_state_directory, read_json, write_json
from deploy.embedded.tokens import TokenSigner

STOP_SECONDS = 9.5


class NoSuchService(KeyError):
    """The stack has no service of this name."""


class Stack:
    """One state directory's processes: `start` them, or `attach` to those of another process and add one's own."""

    def __init__(
        self, state_dir: Path | None = None, *, supervise: bool = False, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment`, else this process's, names servers elsewhere; with `supervise` what dies comes back."""
        self.state = StateDirectory(state_dir or default_state_directory())
        self.recovered: list[str] = []
        self.on_change: Callable[[], None] = lambda: None
        self._outside = dict(os.environ if environment is None else environment)
        self._supervise = supervise
        self._attached = False
        self._services: dict[str, Service] = {}
        self._held = ExitStack()
        self._stopping = Flag()

    @classmethod
    def attach(cls, state_dir: Path) -> Self:
        """Use the servers of a running stack; what is added here belongs to this process and ends by `stop`."""
        stack = cls(state_dir)
        stack.state.check_usable()
        if stack.state.holder() is None:
            raise NotRunning(f"no stack is running on {stack.state.path}; start one with `agent-runtime up`")
        stack._attached = True
        stack.ports = Ports(stack.state.path / "ports.json")
        stack.ports.adopt()
        stack.servers = choose_servers(stack.state, stack.ports, stack._outside)
        return stack

    # -- starting ------------------------------------------------------------------------------------------------

    def start(
        self, *, migrated: bool = False, api_port: int | None = None, workers: int = 0, local_model: bool = False
    ) -> Self:
        """Start servers and issuer, all at once, and what stands on them as soon as it can; wait until all are ready.

        `migrated` gives the database its tables. `api_port` starts an api there, 0 on a free port.
        """
        self._open(api_port, local_model)
        try:
            with ThreadPoolExecutor(max_workers=8 + workers, thread_name_prefix="start") as pool:
                try:
                    _all_of(self._begin(pool, migrated or workers > 0, api_port, workers, local_model))
                except BaseException:
                    self._stopping.set()
                    raise
        except BaseException:
            self.stop()
            raise
        if self._supervise:
            threading.Thread(target=self._watch, name="supervisor", daemon=True).start()
        return self

    def _open(self, api_port: int | None, local_model: bool) -> None:
        """Take the state directory for this process and end what a killed stack left behind."""
        self.state.open()
        self._held.enter_context(self.state.lock())
        (self.state.run / SUMMARY).unlink(missing_ok=True)
        self.recovered = end_orphans(self.state.run)
        self.ports = Ports(self.state.path / "ports.json")
        if api_port:
            self.ports.reserve("api", api_port)
        self.servers = choose_servers(self.state, self.ports, self._outside)
        write_providers(self.state, self._outside, local_provider(self.ports["local-model"]) if local_model else {})

    def _begin(
        self, pool: ThreadPoolExecutor, migrated: bool, api_port: int | None, workers: int, local_model: bool
    ) -> list[Future[Any]]:
        started = {server.name: pool.submit(self._start_server, server) for server in self.servers.own()}
        issuer = [pool.submit(self.servers.issuer.start)] if self.servers.issuer else []
        tasks = [*started.values(), *issuer]
        if local_model:
            tasks.append(pool.submit(self.add_local_model))
        if migrated or api_port is not None:
            database = [started["postgres"]] if "postgres" in started else []
            tables = pool.submit(self.migrate, after=_after(database))
            tasks.append(tables)
            if api_port is not None:
                tasks.append(pool.submit(self._start_api, api_port, _after([tables, *issuer])))
            needed = [tables, *(started[name] for name in ("valkey", "temporal", "object-store") if name in started)]
            for number in range(1, workers + 1):
                tasks.append(pool.submit(self.add_worker, f"worker-{number}", after=_after(needed)))
        return tasks

    def _start_api(self, port: int, after: Callable[[], None]) -> None:
        self.add_api(port=port, after=after)

    def _start_server(self, server: Server) -> None:
        server.install(self._stopping)
        self._add(server.name, server.program)
        server.provision()

    def _add(self, name: str, program: Callable[[], Program], after: Callable[[], None] | None = None) -> None:
        service = Service(name, program, self.state, self._stopping)
        self._services[name] = service
        service.start(after)

    def migrate(self, database: str | None = None, *, after: Callable[[], None] = lambda: None) -> None:
        """Give a database the newest tables; by default the stack's own."""
        migrate(
            self.state, program_environment(self._outside, self.environment(database=database)), self._stopping, after
        )

    def add_api(
        self,
        name: str = "api",
        *,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        module: str = "services.api.main",
        after: Callable[[], None] | None = None,
    ) -> str:
        """Start an api and give its URL; port 0 stands for a free one. `environment` adds to the stack's."""
        chosen = port or self.ports[name]
        settings = program_environment(self._outside, {**self.environment(), **(environment or {})})
        self._add(name, lambda: api_program(name, chosen, settings, module), after)
        return f"http://{LOOPBACK}:{chosen}"

    def add_worker(
        self,
        name: str,
        *,
        environment: Mapping[str, str] | None = None,
        module: str = "services.worker.main",
        after: Callable[[], None] | None = None,
    ) -> None:
        """Start a worker of this name; `module` may be a test's own program around the worker."""
        port = self.ports[name]
        settings = program_environment(self._outside, {**self.environment(), **(environment or {})})
        self._add(name, lambda: worker_program(name, port, settings, module), after)

    def add_local_model(self) -> None:
        port = self.ports["local-model"]
        self._add("local-model", lambda: local_model_program(self.state, port))

    # -- knowing -------------------------------------------------------------------------------------------------

    def environment(
        self, *, database: str | None = None, redis_database: int = 0, task_queue: str = "agent-runs"
    ) -> dict[str, str]:
        """The variables that api, worker and migrations need for these servers."""
        settings = self.servers.environment(database, redis_database, task_queue)
        settings |= secrets_keys(self.state, self._outside)
        return {**settings, "MODEL_PROVIDERS_FILE": str(providers_file(self.state, self._outside))}

    def token(self, *, role: str = "operator", tenant: str | None = "demo", subject: str = "local", **more: Any) -> str:
        """An access token of the embedded issuer; an administrator's names no tenant."""
        return self.signer.mint(role=role, tenant=None if role == "admin" else tenant, subject=subject, **more)

    @property
    def signer(self) -> TokenSigner:
        if not self.servers.issuer:
            raise StateRefused("this stack takes its tokens from the issuer that OIDC_ISSUER names")
        return self.servers.issuer.signer

    def services(self) -> dict[str, dict[str, Any]]:
        """Every process by name: status, pid, address, restarts."""
        own = {name: service.describe() for name, service in self._services.items()}
        if self._attached:
            summary = read_json(self.state.run / SUMMARY) or {}
            return {**summary.get("services", {}), **own}
        return {**own, **self.servers.describe_rest()}

    def pid(self, name: str) -> int | None:
        """The process of a service; None while it has none."""
        services = self.services()
        if name not in services:
            raise NoSuchService(f"no service {name!r}; there are {', '.join(services)}")
        pid: int | None = services[name]["pid"]
        return pid

    def memory_mb(self) -> float:
        """Proportional set size of every process of the stack, this one included."""
        pids = {service["pid"] for service in self.services().values() if service["pid"]}
        return round(proportional_memory(pids | {os.getpid()}) / 2**20, 1)

    # -- acting --------------------------------------------------------------------------------------------------

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal; SIGSTOP, SIGCONT and SIGKILL reach the children of the service too."""
        if pid := self.pid(name):
            signal_process(pid, number)

    def stop_service(self, name: str, seconds: float | None = None) -> None:
        """Stop one and keep it stopped; `seconds` is how long it may take before it is killed."""
        self._own(name).stop(seconds)

    def start_service(self, name: str) -> None:
        """Start one that was stopped or killed, and wait until it is ready."""
        self._own(name).start()

    def restart(self, name: str) -> None:
        self.stop_service(name)
        self.start_service(name)

    def _own(self, name: str) -> Service:
        if name not in self._services:
            raise NoSuchService(f"this process runs no service {name!r}; it runs {', '.join(self._services) or 'none'}")
        return self._services[name]

    def interrupt(self) -> None:
        """Make a start in progress fail soon; may be called by a signal handler."""
        self._stopping.set()

    def stop(self) -> None:
        """End workers, then apis, then servers, within ten seconds."""
        self._stopping.set()
        deadline = (self._stopping.since or 0) + STOP_SECONDS
        own = [] if self._attached or not hasattr(self, "servers") else self.servers.own()
        servers = {server.name for server in own}
        apis = {name for name in self._services if name.startswith("api")}
        self._stop_all(set(self._services) - servers - apis, None)
        self._stop_all(apis, None)
        self._stop_all(servers & set(self._services), max(deadline - time.monotonic(), 0.8))
        if not self._attached and hasattr(self, "servers"):
            if self.servers.issuer:
                self.servers.issuer.stop()
            (self.state.run / SUMMARY).unlink(missing_ok=True)
        self._held.close()

    def _stop_all(self, names: set[str], seconds: float | None) -> None:
        with ThreadPoolExecutor(max_workers=max(len(names), 1), thread_name_prefix="stop") as pool:
            _all_of([pool.submit(self._services[name].stop, seconds) for name in names])

    def _watch(self) -> None:
        rotated = time.monotonic()
        while not self._stopping.is_set:
            time.sleep(0.2)
            changes = [service.tend() for service in list(self._services.values())]
            if any(changes):
                self.on_change()
            if time.monotonic() - rotated > 5:
                rotate(self.state.path / "logs")
                rotated = time.monotonic()

    def publish(self, summary: Mapping[str, Any]) -> None:
        """Write what other processes may know of this stack."""
        write_json(self.state.run / SUMMARY, {**summary, "supervisor": os.getpid(), "services": self.services()})

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _after(tasks: Sequence[Future[Any]]) -> Callable[[], None]:
    """What returns when the tasks are done, and fails when one of them does."""
    return lambda: _all_of(tasks)


def _all_of(tasks: Sequence[Future[Any]]) -> None:
    """Wait for all, or raise the first failure."""
    done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
    for task in done:
        task.result()
