"""Every panel of the Grafana dashboard shows something of real runs, and the check would notice one that does not."""

from __future__ import annotations

import json

import pytest

from tests.conformance.observability.metrics.conftest import Observed
from tests.conformance.observability.metrics.expressions import (
    DASHBOARD,
    Expression,
    metrics_of,
    of_dashboard,
    panels,
    problems,
)

pytestmark = pytest.mark.timeout(170)


def test_every_expression_of_the_dashboard_returns_a_series(observed: Observed) -> None:
    expressions = of_dashboard()
    assert len(expressions) > 40
    assert [found for each in expressions for found in problems(observed.prometheus, each)] == []


@pytest.mark.parametrize(
    "expression",
    [
        "sum(rate(agent_runtime_runs_endet_total[1m]))",
        "sum(rate(agent_runtime_runs_endet_total[1m])) or vector(0)",
        'sum(agent_runtime_runs{status="queued"})',
        'max(agent_runtime_runs{state="running"}) + sum(agent_runtime_nothing)',
        "0 / (0 * sum(agent_runtime_runs))",
        "sum(agent_runtime_runs{state=~\"$state\"})",
    ],
)  # fmt: skip
def test_an_expression_that_shows_nothing_is_found(observed: Observed, expression: str) -> None:
    assert problems(observed.prometheus, Expression("here", expression))


def test_the_dashboard_shows_what_is_asked_of_it() -> None:
    shown = set().union(*(metrics_of(each.text) for each in of_dashboard()))
    for name in (
        "agent_runtime_runs", "agent_runtime_runs_ended_total", "gen_ai_invoke_agent_duration_seconds_bucket",
        "agent_runtime_run_queue_seconds_bucket", "agent_runtime_step_duration_seconds_count",
        "gen_ai_client_operation_duration_seconds_count", "gen_ai_client_operation_time_to_first_chunk_seconds_bucket",
        "gen_ai_client_token_usage_bucket", "agent_runtime_model_tokens_total", "agent_runtime_model_cost_usd_total",
        "gen_ai_execute_tool_duration_seconds_bucket", "agent_runtime_event_loop_lag_seconds_bucket",
        "agent_runtime_reconciler_repairs_total", "agent_runtime_projection_lag_seconds",
    ):  # fmt: skip
        assert name in shown


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    found = list(panels(dashboard))
    assert len({panel["id"] for panel in found}) == len(found)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in found)
    sources = {target["datasource"]["uid"] for panel in found for target in panel.get("targets", ())}
    assert sources == {"${datasource}"}
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource"]
