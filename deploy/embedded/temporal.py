"""Temporal's development server on a file, with the settings that make it quick and fair."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.embedded.binaries import find_temporal
from deploy.embedded.ports import LOOPBACK, Ports
from deploy.embedded.probes import http_request
from deploy.embedded.processes import Flag, Program
from deploy.embedded.state import StateDirectory

SEARCH_ATTRIBUTE = "TenantId"
DYNAMIC_CONFIG = {
    "matching.enableFairness": "true",
    # Tests of waiting skip the time.
    "frontend.WorkflowTimeSkippingEnabled": "true",
    # By default queues are read twenty times a second, which costs 50 ms at each hop of a workflow.
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    # Partitions blur fairness and bring nothing on one node.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    # What is given to a poll of a worker that stops would be lost for the task's timeout.
    "frontend.enableCancelWorkerPollsOnShutdown": "true",
}
# Without these SQLite halves the throughput.
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")


class Temporal:
    """The Temporal server of a state directory."""

    name = "temporal"

    def __init__(self, state: StateDirectory, ports: Ports) -> None:
        self._state = state
        self._port = ports["temporal"]
        self._ports = {name: ports[f"temporal-{name}"] for name in ("ui", "http", "metrics")}

    @property
    def _home(self) -> Path:
        return self._state.path / "temporal"

    def install(self, stopping: Flag) -> None:
        self._state.directory("temporal")

    def program(self) -> Program:
        command = [str(find_temporal()), "server", "start-dev", "--ip", LOOPBACK, "--port", str(self._port)]
        command += [part for name, port in self._ports.items() for part in (f"--{name}-port", str(port))]
        command += ["--db-filename", str(self._home / "temporal.db")]
        command += [part for pragma in PRAGMAS for part in ("--sqlite-pragma", pragma)]
        command += ["--search-attribute", f"{SEARCH_ATTRIBUTE}=Keyword"]
        command += [part for item in DYNAMIC_CONFIG.items() for part in ("--dynamic-config-value", "=".join(item))]
        command += ["--ui-disable-news-fetch", "--disable-config-file", "--log-format", "json", "--log-level", "warn"]
        return Program(
            name=self.name,
            argv=tuple(command),
            directory=self._home,
            ready=self._is_ready,
            address=f"{LOOPBACK}:{self._port}",
            environment={"HOME": str(self._home), "GOGC": "75"},
        )

    @property
    def web_url(self) -> str:
        """Temporal's own page."""
        return f"http://{LOOPBACK}:{self._ports['ui']}"

    def _is_ready(self) -> bool:
        status, body = http_request(self._ports["http"], "/cluster/namespaces/default/search-attributes")
        return status == 200 and SEARCH_ATTRIBUTE in json.loads(body).get("customAttributes", {})

    def provision(self) -> None:
        """Nothing to make: namespace and search attribute come from the arguments."""

    def environment(self, task_queue: str = "agent-runs") -> dict[str, str]:
        return {
            "TEMPORAL_ADDRESS": f"{LOOPBACK}:{self._port}",
            "TEMPORAL_NAMESPACE": "default",
            "TEMPORAL_TASK_QUEUE": task_queue,
        }
