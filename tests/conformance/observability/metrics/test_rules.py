"""Every alert compares something that real runs have, fires in a test of promtool, and is quiet while all is well."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.observability.metrics.conftest import Observed
from tests.conformance.observability.metrics.expressions import (
    RULE_TESTS,
    RULES,
    Expression,
    left_side,
    problems,
    rules,
)
from tests.conformance.observability.metrics.prometheus import PROMTOOL

pytestmark = [
    pytest.mark.timeout(170),
    pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool here (Debian: prometheus)"),
]
ALERTS = [rule["alert"] for rule in rules()]


def promtool(*arguments: str) -> str:
    done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expectations() -> list[dict[str, Any]]:
    """What is expected of each alert at some moment of some test."""
    tests = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    return [expected for test in tests for expected in test["alert_rule_test"]]


def test_promtool_takes_the_rules_and_their_tests_hold() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(RULES.with_name("prometheus.yml")))
    assert "SUCCESS" in promtool("test", "rules", str(RULE_TESTS))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_seen_firing_and_silent(alert: str) -> None:
    mine = [expected for expected in expectations() if expected["alertname"] == alert]
    assert any(expected.get("exp_alerts") for expected in mine), "no test lets it fire"
    assert any(not expected.get("exp_alerts") for expected in mine), "no test keeps it silent"


@pytest.mark.parametrize("alert", ALERTS)
def test_real_runs_have_what_an_alert_compares(observed: Observed, alert: str) -> None:
    rule = next(rule for rule in rules() if rule["alert"] == alert)
    assert problems(observed.prometheus, left_side(rule)) == []
    assert observed.prometheus.rules()[alert] == "ok"


def test_the_series_of_the_tests_are_those_of_the_platform(observed: Observed) -> None:
    """A test of promtool makes its series up: a wrong name or label would fire there and never anywhere else."""
    tests = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    series = {given["series"] for test in tests for given in test["input_series"]}
    for each in series:
        name, _, rest = each.partition("{")
        labels = {pair.partition("=")[0].strip() for pair in rest.rstrip("}").split(",") if pair}
        found = observed.prometheus.query(f"last_over_time({name}[10m])")
        assert found, f"nothing is called {name}"
        assert labels <= set().union(*(one["metric"] for one in found)), each


def test_nothing_of_ours_fires_while_all_is_well(observed: Observed) -> None:
    critical = {rule["alert"] for rule in rules() if rule["labels"]["severity"] == "critical"}
    # A store was taken away, and the api said so.
    assert observed.prometheus.firing() & critical <= {"AgentRuntimeApiErrors"}


@pytest.mark.parametrize(
    "expression",
    [
        'sum(rate(agent_runtime_runs_ended_total{state="failed"}[5m])) > 1',
        "max(agent_runtime_worker) < 1",
        'sum(rate(agent_runtime_reconciler_repairs_total{what="begin"}[5m])) > 1',
    ],
)
def test_a_rule_that_can_never_fire_is_found(observed: Observed, expression: str) -> None:
    assert problems(observed.prometheus, left_side({"alert": "here", "expr": expression}))


def test_a_rule_that_cannot_be_looked_at_is_refused() -> None:
    with pytest.raises(ValueError, match="not a comparison"):
        left_side({"alert": "here", "expr": "absent(agent_runtime_workers)"})


def test_promtool_finds_a_rule_that_does_not_fire(tmp_path: Path) -> None:
    broken = RULES.read_text().replace("max(agent_runtime_workers) < 1", "max(agent_runtime_workerz) < 1")
    (tmp_path / RULES.name).write_text(broken)
    (tmp_path / RULE_TESTS.name).write_text(RULE_TESTS.read_text())
    with pytest.raises(AssertionError, match="AgentRuntimeNoWorker"):
        promtool("test", "rules", str(tmp_path / RULE_TESTS.name))


def test_an_expression_is_named_by_its_rule() -> None:
    rule = {"alert": "a", "expr": "sum(agent_runtime_runs) > 3\n"}
    assert left_side(rule) == Expression("a", "sum(agent_runtime_runs)")
