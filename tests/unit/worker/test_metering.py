"""What a worker counts: from what was committed, and with a bounded number of series whatever a tenant writes."""

from __future__ import annotations

import time
from asyncio import CancelledError
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from libs.clients.openai import ModelAnswer, ModelFailed
from libs.database.steps import Change, ClosedCall, OpenedCall
from libs.domain import events
from libs.domain.events import NewEvent
from libs.domain.run_log import RunLog
from libs.domain.runs import RunState, Usage
from libs.observability.labels import Bounded
from services.worker.journal import View
from services.worker.keys import RunKey
from services.worker.liveness import suspended_clock
from services.worker.metering import CODES, MODELS, TENANTS, Meter
from services.worker.observing import Observer, Place
from services.worker.trying import TryAgain

ACCEPTED = 1_790_000_000_000  # ms
PLACE = Place(UUID(int=1), "claim", 1, 1)


def uuid7(number: int = 0) -> UUID:
    return UUID(int=(ACCEPTED << 80) | (7 << 76) | (2 << 62) | number)


def view(provider: str, model: str, tenant: int = 1, age: float = 3.0) -> View:
    now = datetime.fromtimestamp(ACCEPTED / 1000 + age, UTC)
    state = RunState("running", "run", 0, 1, 0, 1, True, now, None, None, None, None, 0, Decimal(0))
    spec = SimpleNamespace(provider=provider, model_name=model)
    run = RunKey(UUID(int=tenant), uuid7(tenant))
    version: Any = SimpleNamespace(spec=spec)
    return View(run, RunLog(), state, version, "somebody", None, suspended_clock())


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def series(name: str) -> list[dict[str, str]]:
    """The labels under which a metric has samples."""
    return [sample.labels for metric in REGISTRY.collect() for sample in metric.samples if sample.name == name]


def settled(usage: Usage, cost: str) -> Change:
    data = {"turn": 1, "attempt": 1}
    completed = NewEvent(events.MODEL_COMPLETED, data, events.turn_committed(1))
    return Change((completed,), closed=ClosedCall(1, 1, "settled", usage, Decimal(cost)))


def test_known_values_and_some_others_have_series_of_their_own() -> None:
    bounded = Bounded(["known"], room=2)
    assert [bounded.has_own(name) for name in ("a", "b", "c", "known", "a")] == [True, True, False, True, True]


def test_what_a_settled_call_used_is_counted_by_model() -> None:
    meter = Meter([("counted", "m")])
    meter.committed(view("counted", "m"), settled(Usage(100, 40, 7, 3), "0.0125"))
    labels = {"provider": "counted", "model": "m"}
    tokens = {kind: value("agent_runtime_model_tokens_total", **labels, type=kind) for kind in ("input", "output")}
    assert tokens == {"input": 100, "output": 7}
    assert value("agent_runtime_model_tokens_total", **labels, type="cached_input") == 40
    assert value("agent_runtime_model_cost_usd_total", **labels, state="settled") == 0.0125
    names = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "counted", "gen_ai_request_model": "m"}
    assert value("gen_ai_client_token_usage_sum", **names, gen_ai_token_type="input") == 100
    assert value("gen_ai_client_token_usage_count", **names, gen_ai_token_type="output") == 1


def test_a_call_that_was_not_sent_used_nothing() -> None:
    meter = Meter([("unsent", "m")])
    closed = replace(settled(Usage(), "0"), closed=ClosedCall(1, 1, "not_sent", Usage(), Decimal(0)))
    meter.committed(view("unsent", "m"), closed)
    assert value("agent_runtime_model_calls_total", provider="unsent", model="m", state="not_sent") == 1
    names = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "unsent", "gen_ai_request_model": "m"}
    assert value("gen_ai_client_token_usage_count", **names, gen_ai_token_type="input") == 0


def test_a_guess_is_no_usage_and_a_call_without_a_price_is_told() -> None:
    meter, before = Meter(), value("agent_runtime_unpriced_model_calls_total")
    opened = OpenedCall(1, 1, "guessed", "m", 100, None)
    guess = ClosedCall(1, 1, "estimated", Usage(50, 0, 5, 0, estimated=True), Decimal(1))
    meter.committed(view("guessed", "m"), Change((), opened=opened, closed=guess))
    names = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "guessed", "gen_ai_request_model": "m"}
    assert value("gen_ai_client_token_usage_count", **names, gen_ai_token_type="input") == 0
    assert value("agent_runtime_model_tokens_total", provider="guessed", model="m", type="input") == 50
    assert value("agent_runtime_unpriced_model_calls_total") == before + 1


def test_a_run_counts_from_its_acceptance_by_the_clock_of_the_database() -> None:
    meter, before = Meter(), value("agent_runtime_run_queue_seconds_sum")
    ended = value("gen_ai_invoke_agent_duration_seconds_sum", status="failed", error_type="budget_exceeded")
    meter.committed(view("p", "m", age=3), Change((NewEvent(events.RUN_STARTED, {}),)))
    failed = NewEvent(events.RUN_FAILED, {"code": "budget_exceeded", "message": ""}, events.END)
    meter.committed(view("p", "m", age=9), Change((failed,)))
    assert value("agent_runtime_run_queue_seconds_sum") - before == pytest.approx(3, abs=0.5)
    assert value(
        "gen_ai_invoke_agent_duration_seconds_sum", status="failed", error_type="budget_exceeded"
    ) - ended == pytest.approx(9, abs=0.5)
    assert value("agent_runtime_runs_ended_total", status="failed", code="budget_exceeded") >= 1


def test_a_run_counts_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    meter, before, seen = Meter(), value("agent_runtime_run_queue_seconds_sum"), view("p", "m", age=3)
    monkeypatch.setattr("services.worker.journal.suspended_clock", lambda: seen.read_at + 600)
    meter.committed(seen, Change((NewEvent(events.RUN_STARTED, {}),)))
    assert value("agent_runtime_run_queue_seconds_sum") - before == pytest.approx(603)


def test_models_and_tenants_that_somebody_invents_share_a_series() -> None:
    meter = Meter([("bounded", "configured")])
    for number in range(TENANTS + 50):
        meter.committed(view("bounded", f"invented-{number}", tenant=1000 + number), settled(Usage(1, 0, 1, 0), "1"))
    meter.committed(view("bounded", "configured"), settled(Usage(1, 0, 1, 0), "1"))
    models = [each["model"] for each in series("agent_runtime_model_cost_usd_total") if each["provider"] == "bounded"]
    assert len(models) == MODELS + 2
    assert {"other", "configured"} <= set(models)
    invented = [str(UUID(int=1000 + number)) for number in range(TENANTS + 50)]
    tenants = [each["tenant"] for each in series("agent_runtime_tenant_cost_usd_total")]
    assert len(set(tenants) & set(invented)) == TENANTS
    assert "other" in tenants


def test_codes_are_bounded() -> None:
    meter = Meter()
    assert {meter.code(f"http_{number}") for number in range(CODES + 100)} >= {"other"}
    assert len({meter.code(f"http_{number}") for number in range(CODES + 100)}) == CODES + 1


def test_whatever_providers_answer_faults_of_the_platform_and_success_are_told() -> None:
    meter = Meter()
    for number in range(CODES + 100):
        meter.asked("p", "m", 1.0, None, f"http_{number}")
    before = value("agent_runtime_runs_ended_total", status="failed", code="worker_lost")
    lost = NewEvent(events.RUN_FAILED, {"code": "worker_lost", "message": ""}, events.END)
    meter.committed(view("p", "m"), Change((lost,)))
    assert value("agent_runtime_runs_ended_total", status="failed", code="worker_lost") == before + 1
    assert meter.code("") == ""


def test_the_name_of_a_tool_is_no_label() -> None:
    meter = Meter()
    name = "name_that_a_tenant_chose"
    data = {"turn": 1, "index": 0, "name": name, "is_error": False, "content": name}
    meter.committed(view("p", "m"), Change((NewEvent(events.TOOL_COMPLETED, data, "t1.0"),)))
    with Observer(meter).tool_call(PLACE, name, SimpleNamespace(name=name), "read") as observed:
        observed.result = "ok"
    assert (
        value("gen_ai_execute_tool_duration_seconds_count", gen_ai_tool_name="own", effect="read", error_type="") >= 1
    )
    assert not [sample for metric in REGISTRY.collect() for sample in metric.samples if name in str(sample)]


def test_a_model_call_is_timed_by_how_it_ended() -> None:
    observer, answer = Observer(Meter([("timed", "m")])), ModelAnswer()
    with observer.model_call(PLACE, "timed", "m", answer):
        answer.first_at = time.monotonic() + 2
    refused = ModelFailed("http_429", "", retryable=True)
    with pytest.raises(ModelFailed), observer.model_call(PLACE, "timed", "m", ModelAnswer()):
        raise refused
    unsent = ModelFailed("provider_unreachable", "", retryable=True, sent=False)
    with pytest.raises(ModelFailed), observer.model_call(PLACE, "timed", "m", ModelAnswer()):
        raise unsent
    names = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "timed", "gen_ai_request_model": "m"}
    by_error = {
        code: value("gen_ai_client_operation_duration_seconds_count", **names, error_type=code)
        for code in ("", "http_429", "provider_unreachable")
    }
    assert by_error == {"": 1, "http_429": 1, "provider_unreachable": 0}
    assert value("gen_ai_client_operation_time_to_first_chunk_seconds_sum", **names) == pytest.approx(2, abs=0.1)
    assert value("agent_runtime_model_calls_in_progress") == 0


def test_a_tool_whose_own_code_breaks_was_not_cancelled() -> None:
    names = {"gen_ai_tool_name": "own", "effect": "idempotent"}
    with pytest.raises(ZeroDivisionError), Observer(Meter()).tool_call(PLACE, "t", SimpleNamespace(), "idempotent"):
        _ = 1 / 0
    with pytest.raises(CancelledError), Observer(Meter()).tool_call(PLACE, "t", SimpleNamespace(), "idempotent"):
        raise CancelledError
    found = [
        value("gen_ai_execute_tool_duration_seconds_count", **names, error_type=kind)
        for kind in ("failed", "cancelled")
    ]
    assert found == [1, 1]


def test_a_step_that_asks_to_be_tried_again_did_not_fail() -> None:
    observer = Observer(Meter())
    before = value("agent_runtime_step_duration_seconds_count", step="s", result="again")
    with pytest.raises(TryAgain), observer.step("s", PLACE.run_id, "c"):
        raise TryAgain("http_500", "", 1.0)
    with pytest.raises(ZeroDivisionError), observer.step("s", PLACE.run_id, "c"):
        _ = 1 / 0
    assert value("agent_runtime_step_duration_seconds_count", step="s", result="again") == before + 1
    assert value("agent_runtime_step_duration_seconds_count", step="s", result="failed") >= 1
    assert value("agent_runtime_steps_in_progress", step="s") == 0
