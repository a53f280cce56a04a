"""docs/operations.md: no procedure that nobody tries, no alert without a word on what to do."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance.operations.procedures import DOCUMENT, procedures

HERE = Path(__file__).parent
ALERTS = HERE.parents[2] / "deploy/observability/alerts.yml"


def test_every_procedure_is_tried() -> None:
    tests = "".join(file.read_text(encoding="utf-8") for file in HERE.glob("test_*.py") if file != Path(__file__))
    assert {name for name in procedures() if f'"{name}"' not in tests} == set()


def test_every_alert_has_its_first_step() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8")))
    assert alerts == set(re.findall(r"`(AgentRuntime\w+)`", DOCUMENT.read_text(encoding="utf-8")))
