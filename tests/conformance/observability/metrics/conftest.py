"""A platform that is scraped and traced, with real runs behind it; started once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent_runtime import Run

from deploy.embedded.ports import LOOPBACK
from tests.conformance.observability.metrics import scenario
from tests.conformance.observability.metrics.expressions import RULES, of_dashboard, problems
from tests.conformance.observability.metrics.prometheus import PROMETHEUS, PROMTOOL, Prometheus, running
from tests.fakes import ToolService, tool_service
from tests.fixtures.embedded import EmbeddedPlatform
from tests.fixtures.trace_receiver import Receiver, receiver

SCRAPES = 4.0  # seconds
# What a label first tells is no increase, the second time is: for each of two workers, which share runs as they like.
ROUNDS = 6


class ObservedPlatform(EmbeddedPlatform):
    """Its api and workers trace themselves, and its runs are projected."""

    def __init__(self, directory: Path, tools: ToolService, tools_url: str, traces_url: str, langfuse: str) -> None:
        super().__init__(directory, tools, tools_url)
        self._observed = {
            "API_COUNT_SECONDS": "0.5",
            "WORKER_SLICE_SECONDS": "0",  # steps of both kinds: each call is an activity of its own
            "OTEL_EXPORTER_OTLP_ENDPOINT": traces_url,
            "LANGFUSE_HOST": langfuse,
            "LANGFUSE_PUBLIC_KEY": "pk-lf-observed",
            "LANGFUSE_SECRET_KEY": "sk-lf-observed",
        }

    def _providers(self) -> dict[str, str]:
        return super()._providers() | self._observed


@dataclass(frozen=True)
class Observed:
    """The platform, who observes it, and what it did."""

    platform: EmbeddedPlatform
    prometheus: Prometheus
    traces: Receiver
    runs: list[dict[str, Run]]


@pytest.fixture(scope="session")
def observed_platform() -> Iterator[tuple[ObservedPlatform, Receiver]]:
    directory = Path(tempfile.mkdtemp(prefix="agent-runtime-observed-"))
    directory.chmod(0o711)  # PostgreSQL, as another user, enters it
    try:
        with (
            receiver() as traces,
            receiver() as langfuse,
            tool_service() as (tools, url),
            ObservedPlatform(directory, tools, url, traces.url, langfuse.url) as platform,
        ):
            yield platform, traces
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def observed(observed_platform: tuple[ObservedPlatform, Receiver]) -> Iterator[Observed]:
    if PROMETHEUS is None or PROMTOOL is None:
        pytest.skip("there is no Prometheus here (Debian: prometheus)")
    platform, traces = observed_platform
    ports = platform.stack.ports
    metrics = [ports["metrics-1"], ports["metrics-2"]]
    jobs = {
        "agent-runtime-api": [platform.api_url.removeprefix("http://")],
        "agent-runtime-worker": [f"{LOOPBACK}:{port}" for port in metrics],
    }
    with ExitStack() as held:
        for port in metrics:
            held.enter_context(platform.workers(1, WORKER_METRICS_PORT=str(port)))
        prometheus = held.enter_context(running(platform.directory, ports["prometheus"], jobs, RULES))
        time.sleep(2)
        agents = asyncio.run(scenario.furnish(platform))
        runs: list[dict[str, Run]] = []
        for number in range(ROUNDS):
            runs.append(asyncio.run(scenario.play(platform, agents, f"hello {number}")))
            assert asyncio.run(scenario.ask_without_store(platform)) == 503
            time.sleep(SCRAPES)
            if len(runs) > 1 and not any(problems(prometheus, each) for each in of_dashboard()):
                break
        yield Observed(platform, prometheus, traces, runs)
