"""What a worker counts: runs, steps, model calls, tools, tokens and cost, with a bounded number of series.

Runs, tokens and cost are counted from what was committed. The log and the ledger stay the truth: a process that dies
takes its last counts with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from prometheus_client import Counter, Gauge, Histogram

from libs.database.steps import Change, ClosedCall
from libs.domain import events
from libs.domain.events import NewEvent
from libs.observability.labels import OTHER, Bounded
from libs.observability.metrics import RUNS_ENDED
from services.worker.journal import View
from services.worker.keys import RunKey

MODELS, TENANTS, CODES = 32, 200, 40  # with series of their own in one process, beside what is configured
# The buckets that the OpenTelemetry convention for generative AI says.
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_RUN = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6, 3600, 86400)
_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)

STARTED = Counter("agent_runtime_runs_started_total", "Runs whose first step was committed")
DURATION = Histogram(
    "gen_ai_invoke_agent_duration_seconds",
    "Runs, from acceptance to the end; error_type is empty where a run completed",
    ["status", "error_type"],
    buckets=_RUN,
)
QUEUED = Histogram("agent_runtime_run_queue_seconds", "From acceptance to the first step", buckets=_LONG)
TURNS = Counter("agent_runtime_turns_total", "Answers of models that were committed")
STEPS = Histogram(
    "agent_runtime_step_duration_seconds", "Steps that this worker made, as activities", ["step", "result"],
    buckets=_LONG,
)  # fmt: skip
STEPS_NOW = Gauge("agent_runtime_steps_in_progress", "Steps that this worker makes now", ["step"])
_GEN_AI = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"]
OPERATIONS = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "Model calls that were sent, from request to last chunk; error_type is empty where an answer came",
    [*_GEN_AI, "error_type"],
    buckets=_SECONDS,
)
FIRST_CHUNK = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "From the request to the first chunk of the answer",
    _GEN_AI,
    buckets=_SECONDS,
)
TOKENS = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of a model call, as its provider counted them",
    [*_GEN_AI, "gen_ai_token_type"],
    buckets=_TOKENS,
)
MODEL_CALLS_NOW = Gauge("agent_runtime_model_calls_in_progress", "Model calls that this worker waits for")
MODEL_CALLS = Counter(
    "agent_runtime_model_calls_total", "Model calls by how the ledger has them", ["provider", "model", "state"]
)
MODEL_TOKENS = Counter(
    "agent_runtime_model_tokens_total",
    "Tokens by the ledger; cached_input is part of input, reasoning of output",
    ["provider", "model", "type"],
)
COST = Counter("agent_runtime_model_cost_usd_total", "Cost by the ledger", ["provider", "model", "state"])
TENANT_ENDED = Counter("agent_runtime_tenant_runs_ended_total", "Runs that ended, by tenant", ["tenant"])
TENANT_COST = Counter("agent_runtime_tenant_cost_usd_total", "Cost by the ledger, by tenant", ["tenant"])
TOOL_CALLS = Histogram(
    "gen_ai_execute_tool_duration_seconds",
    "Attempts at tool calls, by the kind of tool: its own name is the tenant's; error_type is empty where all is well",
    ["gen_ai_tool_name", "effect", "error_type"],
    buckets=_SECONDS,
)
UNPRICED = Counter("agent_runtime_unpriced_model_calls_total", "Model calls that had no price when they were opened")
TOOL_RESULTS = Counter("agent_runtime_tool_results_total", "Results of tool calls that were committed", ["result"])
REJECTED = Counter("agent_runtime_outputs_rejected_total", "Answers given back to the model for their form")
_FAULTS = ("internal", "worker_lost", "workflow_lost")  # of ours, which are alerted of
_KNOWN = ("", "ok", "error", "cancelled", "failed", *_FAULTS)  # these are no `other`, whatever providers answer
for _code in _FAULTS:  # there from the start, so that increases are seen
    RUNS_ENDED.labels("failed", _code)


class _Model:
    """The series of one model, found once."""

    def __init__(self, provider: str, model: str) -> None:
        self.provider, self.model = provider, model
        self.first_chunk = FIRST_CHUNK.labels("chat", provider, model)
        self.input = TOKENS.labels("chat", provider, model, "input")
        self.output = TOKENS.labels("chat", provider, model, "output")
        self.kinds = {
            kind: MODEL_TOKENS.labels(provider, model, kind)
            for kind in ("input", "cached_input", "output", "reasoning")
        }

    def operation(self, error: str) -> Histogram:
        return OPERATIONS.labels("chat", self.provider, self.model, error)


class Meter:
    """Counts for one process. Providers are configured; models, tenants and codes are bounded here."""

    def __init__(self, configured: Iterable[tuple[str, str]] = ()) -> None:
        self._models = Bounded(configured, MODELS)
        self._tenants = Bounded[UUID]((), TENANTS)
        self._codes = Bounded(_KNOWN, CODES)
        self._series: dict[tuple[str, str], _Model] = {}

    def model(self, provider: str, model: str) -> _Model:
        """The series of a model, or of its provider's other ones."""
        name = model if self._models.has_own((provider, model)) else OTHER
        series = self._series.get((provider, name))
        if series is None:
            series = self._series[provider, name] = _Model(provider, name)
        return series

    def code(self, code: str) -> str:
        return code if self._codes.has_own(code) else OTHER

    def asked(self, provider: str, model: str, seconds: float, to_first: float | None, error: str) -> None:
        """A model call was sent and is over."""
        series = self.model(provider, model)
        series.operation(self.code(error)).observe(seconds)
        if to_first is not None:
            series.first_chunk.observe(to_first)

    def called(self, kind: str, effect: str, seconds: float, error: str) -> None:
        """An attempt at a tool call is over."""
        TOOL_CALLS.labels(kind, effect, self.code(error)).observe(seconds)

    def committed(self, view: View, change: Change) -> None:
        """A step of this worker is in the log."""
        for event in change.events:
            self._event(view, event)
        if change.opened is not None and change.opened.price is None:
            UNPRICED.inc()
        if change.closed is not None:
            self.settled(view, change.closed)

    def _event(self, view: View, event: NewEvent) -> None:
        match event.type:
            case events.RUN_STARTED:
                STARTED.inc()
                QUEUED.observe(_age(view.run.run_id, view))
            case events.MODEL_COMPLETED:
                TURNS.inc()
            case events.TOOL_COMPLETED:
                TOOL_RESULTS.labels(self.code(event.data.get("code") or _result(event.data["is_error"]))).inc()
            case events.OUTPUT_REJECTED:
                REJECTED.inc()
            case events.RUN_COMPLETED | events.RUN_FAILED | events.RUN_CANCELLED:
                self._ended(view, events.TERMINAL[event.type], event.data.get("code") or "")

    def _ended(self, view: View, status: str, code: str) -> None:
        code = self.code(code)
        RUNS_ENDED.labels(status, code).inc()
        error = "" if status == "completed" else code or status
        DURATION.labels(status, error).observe(_age(view.run.run_id, view))
        TENANT_ENDED.labels(self._tenant(view.run)).inc()

    def settled(self, view: View, closed: ClosedCall) -> None:
        """The ledger has what a model call used."""
        spec, usage = view.version.spec, closed.usage
        series = self.model(spec.provider, spec.model_name)
        MODEL_CALLS.labels(series.provider, series.model, closed.state).inc()
        if closed.state == "not_sent":
            return
        if closed.state == "settled":  # the convention: what the provider counted, or nothing
            series.input.observe(usage.input_tokens)
            series.output.observe(usage.output_tokens)
        series.kinds["input"].inc(usage.input_tokens)
        series.kinds["cached_input"].inc(usage.cached_input_tokens)
        series.kinds["output"].inc(usage.output_tokens)
        series.kinds["reasoning"].inc(usage.reasoning_tokens)
        COST.labels(series.provider, series.model, closed.state).inc(float(closed.cost))
        TENANT_COST.labels(self._tenant(view.run)).inc(float(closed.cost))

    def _tenant(self, run: RunKey) -> str:
        return str(run.tenant_id) if self._tenants.has_own(run.tenant_id) else OTHER


def _result(is_error: bool) -> str:
    return "error" if is_error else "ok"


def _age(run_id: UUID, view: View) -> float:
    """Seconds since the run was accepted: its id is a UUIDv7, and both times are of the database's clock."""
    return max(view.now.now.timestamp() - (run_id.int >> 80) / 1000, 0.0)
