"""The expressions of the dashboard and of the rules, and what is wrong with them by the data of a Prometheus."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

HOME = Path(__file__).resolve().parents[4] / "deploy" / "observability"
DASHBOARD, RULES, RULE_TESTS = HOME / "dashboard.json", HOME / "alerts.yml", HOME / "alerts.test.yml"
# What an alert compares, and with what. A rule of another form cannot be checked while nothing is wrong.
_ALERT = re.compile(r"(?P<left>.+?)\s*(?P<operator><=|>=|==|<|>)\s*(?P<bound>\d+(\.\d+)?)", re.DOTALL)
_SELECTOR = re.compile(r"\b(?:agent_runtime_|gen_ai_|up\b|process_)\w*(?:\{[^{}]*\})?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_WINDOWS = {"$__rate_interval": "1m", "$__interval": "10s", "$__range": "10m"}


class Expression(NamedTuple):
    """One expression and where it stands."""

    where: str
    text: str


class Asked(Protocol):
    """The part of a Prometheus that is used here."""

    def query(self, expression: str) -> list[dict[str, Any]]: ...


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def of_dashboard(dashboard: dict[str, Any] | None = None) -> list[Expression]:
    read = dashboard if dashboard is not None else json.loads(DASHBOARD.read_text())
    found = [
        Expression(f"{panel['title']} {target['refId']}", target["expr"])
        for panel in panels(read)
        for target in panel.get("targets", ())
    ]
    return [Expression(where, _with_windows(text)) for where, text in found]


def _with_windows(text: str) -> str:
    for variable, window in _WINDOWS.items():
        text = text.replace(variable, window)
    return text


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def left_side(rule: dict[str, Any]) -> Expression:
    """What the rule compares. Raises ValueError for a rule that does not compare with a number."""
    match = _ALERT.fullmatch(rule["expr"].strip())
    if match is None:
        raise ValueError(f"{rule['alert']}: its expression is not a comparison with a number at its end")
    return Expression(rule["alert"], match["left"])


def problems(prometheus: Asked, expression: Expression) -> list[str]:
    """Why nobody would ever see anything by this expression; the data must have something for every part of it."""
    if "$" in expression.text:
        return [f"{expression.where}: a variable has no value in {expression.text}"]
    found = [
        f"{expression.where}: no data has {selector}"
        for selector in selectors(expression.text)
        if not prometheus.query(f"count(last_over_time({selector}[10m]))")
    ]
    series = prometheus.query(expression.text)
    if not series:
        found.append(f"{expression.where}: no series from {expression.text}")
    elif all(math.isnan(float(each["value"][1])) for each in series):
        found.append(f"{expression.where}: nothing but NaN from {expression.text}")
    return found


def selectors(expression: str) -> list[str]:
    """What an expression reads, each with its labels."""
    return [match[0] for match in _SELECTOR.finditer(_GROUPING.sub("", expression))]


def metrics_of(expression: str) -> set[str]:
    return {selector.partition("{")[0] for selector in selectors(expression)}
