"""What Prometheus says of real runs is what the API says of them."""

from __future__ import annotations

from decimal import Decimal

import httpx
import pytest

from tests.conformance.observability.metrics.conftest import Observed

pytestmark = pytest.mark.timeout(170)


def total(observed: Observed, expression: str) -> float:
    return sum(observed.prometheus.values(expression))


def test_every_run_is_counted_once_by_how_it_ended(observed: Observed) -> None:
    runs = [run for played in observed.runs for run in played.values()]
    for status in ("completed", "failed", "cancelled"):
        expected = sum(run.status == status for run in runs)
        assert expected >= 2
        assert total(observed, f'agent_runtime_runs_ended_total{{status="{status}"}}') == expected
        assert total(observed, f'gen_ai_invoke_agent_duration_seconds_count{{status="{status}"}}') == expected
    assert total(observed, "agent_runtime_runs_accepted_total") == len(runs)
    assert total(observed, "agent_runtime_runs_started_total") == len(runs)


def test_tokens_and_cost_are_those_of_the_runs(observed: Observed) -> None:
    usages = [run.usage for played in observed.runs for run in played.values()]
    for kind, name in (("input", "input_tokens"), ("output", "output_tokens")):
        expected = sum(getattr(usage, name) for usage in usages)
        assert total(observed, f'agent_runtime_model_tokens_total{{type="{kind}"}}') == expected
    cost = sum((Decimal(usage.cost_usd) for usage in usages), Decimal(0))
    assert total(observed, "agent_runtime_model_cost_usd_total") == pytest.approx(float(cost))
    assert total(observed, "agent_runtime_tenant_cost_usd_total") == pytest.approx(float(cost))
    assert total(observed, 'agent_runtime_model_calls_total{state="estimated"}') >= 2


async def test_the_usage_is_what_providers_counted_and_no_guess(observed: Observed) -> None:
    runs = [run.id for played in observed.runs for run in played.values()]
    async with observed.platform.records() as records:
        ledger = [row for run in runs for row in (await records.run(run)).ledger]
    settled = [row for row in ledger if row["state"] == "settled"]
    assert len(settled) < len(ledger)
    for kind in ("input", "output"):
        labels = f'{{gen_ai_token_type="{kind}"}}'
        assert total(observed, f"gen_ai_client_token_usage_count{labels}") == len(settled)
        assert total(observed, f"gen_ai_client_token_usage_sum{labels}") == sum(
            row[f"{kind}_tokens"] for row in settled
        )


def test_what_went_wrong_is_counted_by_what_it_was(observed: Observed) -> None:
    rounds = len(observed.runs)
    for error in ("http_500", "http_401"):
        assert total(observed, f'gen_ai_client_operation_duration_seconds_count{{error_type="{error}"}}') == rounds
    assert total(observed, 'agent_runtime_tool_results_total{result="error"}') == rounds
    assert total(observed, 'agent_runtime_tool_results_total{result="invalid_arguments"}') == rounds
    assert total(observed, "agent_runtime_outputs_rejected_total") >= 2


def test_live_runs_are_the_same_in_every_process_and_summed_by_nobody(observed: Observed) -> None:
    assert observed.prometheus.values("max by (state) (agent_runtime_runs)") == [0.0] * 7
    assert observed.prometheus.values("max(agent_runtime_workers)") == [2.0]
    assert len(observed.prometheus.query("agent_runtime_workers")) == 1  # the api's: workers do not ask


def test_every_projection_tells_how_far_behind_it_is(observed: Observed) -> None:
    lags = observed.prometheus.query("max by (projection) (agent_runtime_projection_lag_seconds)")
    assert {each["metric"]["projection"] for each in lags} == {"audit_chain", "traces"}
    assert all(0 <= float(each["value"][1]) < 30 for each in lags)


def test_no_label_holds_what_a_tenant_wrote(observed: Observed) -> None:
    """But names of models, of which there are so many at the most."""
    exposed = httpx.get(f"{observed.platform.api_url}/metrics").text
    targets = observed.prometheus.query('up{job="agent-runtime-worker"}')
    exposed += "".join(httpx.get(f"http://{each['metric']['instance']}/metrics").text for each in targets)
    for written in ("look", "order", "write_artifact", "hello"):
        assert f'"{written}' not in exposed
