"""What a worker process is told by its environment."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from libs.settings.database import DatabaseSettings
from libs.settings.liveness import LivenessSettings
from libs.settings.models import ModelSettings
from libs.settings.object_store import ObjectStoreSettings
from libs.settings.redis import RedisSettings
from libs.settings.secrets import SecretsSettings
from libs.settings.temporal import TemporalSettings
from libs.settings.traces import TracesSettings
from libs.settings.tracing import TracingSettings


class WorkerSettings(
    DatabaseSettings,
    RedisSettings,
    TemporalSettings,
    ObjectStoreSettings,
    ModelSettings,
    SecretsSettings,
    LivenessSettings,
    TracesSettings,
    TracingSettings,
):
    """The execution plane."""

    worker_name: str = Field("worker", max_length=100, description="shown in events and metrics")
    worker_grace_seconds: float = Field(30, ge=0, description="after SIGTERM, for calls that cannot be handed over")
    worker_slice_seconds: float = Field(2, ge=0, description="how long a step may go on by itself before it returns")
    worker_heartbeat_timeout_seconds: float = Field(10, gt=0, description="silence after which a step goes to another")
    worker_max_concurrent_steps: int = Field(100, ge=1, description="steps and tool calls in progress at once")
    worker_metrics_port: int | None = Field(None, description="port of /metrics and /healthz; none if not set")
    worker_metrics_host: str = Field("127.0.0.1", description="address of WORKER_METRICS_PORT")
    worker_reconcile_seconds: float = Field(1, gt=0, description="how often neglected runs are looked for")
    worker_seal_seconds: float = Field(2, gt=0, le=4, description="how often the audit log is sealed")
    worker_admit_seconds: float = Field(0.5, gt=0, description="how often runs that wait for a place are looked for")
    worker_erase_seconds: float = Field(2, gt=0, description="how often erasures and lost objects are looked for")
    worker_backlog_seconds: float | None = Field(
        None, gt=0, description="how often the backlog of the task queue is logged and measured; never if not set"
    )
    worker_tool_queues: str = Field("", description="task queues, by comma, that tools name and this worker serves too")
    egress_allow: str = Field(
        "", description="networks, hosts or host:port, by comma, that tools may reach though private"
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    @model_validator(mode="after")
    def _dead_before_replaced(self) -> WorkerSettings:
        if self.worker_dead_after_seconds >= self.worker_heartbeat_timeout_seconds:
            raise ValueError(
                "WORKER_DEAD_AFTER_SECONDS must be less than WORKER_HEARTBEAT_TIMEOUT_SECONDS: "
                "a step's next attempt must find its lost worker dead"
            )
        return self

    @property
    def heartbeat_timeout(self) -> timedelta:
        return timedelta(seconds=self.worker_heartbeat_timeout_seconds)

    @property
    def grace(self) -> timedelta:
        return timedelta(seconds=self.worker_grace_seconds)

    @property
    def sticky_timeout(self) -> timedelta:
        """How long a signal waits for the worker that cached the workflow, should that be dead."""
        return timedelta(seconds=1)

    @property
    def tool_queues(self) -> list[str]:
        return [queue.strip() for queue in self.worker_tool_queues.split(",") if queue.strip()]

    @property
    def renew_seconds(self) -> float:
        """How often a worker renews its row."""
        return min(2.0, self.worker_dead_after_seconds / 4)
