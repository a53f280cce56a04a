"""The demo's agent files are valid, and the scripted stock keeper takes its numbers from its tools."""

from __future__ import annotations

import json
from string import Template
from typing import Any

import pytest
import yaml

from deploy.demo.stock_keeper import REPORT, TASK, stock_keeper
from deploy.demo.world import AGENTS
from libs.domain.agents import AgentSpec
from libs.domain.schemas import mismatch


def _spec(name: str) -> AgentSpec:
    text = Template((AGENTS / f"{name}.yaml").read_text(encoding="utf-8")).safe_substitute(
        INVENTORY_URL="http://127.0.0.1:1"
    )
    return AgentSpec.model_validate(yaml.safe_load(text)["spec"])


@pytest.mark.parametrize("name", ["stock-keeper", "explainer"])
def test_agent_files_are_valid(name: str) -> None:
    assert _spec(name).model


def _answered(messages: list[dict[str, Any]], *results: dict[str, Any]) -> None:
    """Add the next answer, and what its tools say."""
    said = stock_keeper(messages)
    messages.append({"role": "assistant", "content": said.text})
    for result in results:
        messages.append({"role": "tool", "content": f"HTTP 200\n\n{json.dumps(result)}"})


def test_the_stock_keeper_answers_from_what_its_tools_said() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": TASK}]
    assert [json.loads(call.arguments)["sku"] for call in stock_keeper(messages).tool_calls] == [
        "A-100",
        "B-200",
        "C-300",
    ]
    low, full = (
        {"sku": "X-1", "name": "n", "stock": 3, "minimum": 10},
        {"sku": "Y-2", "name": "m", "stock": 9, "minimum": 1},
    )
    _answered(messages, low, full)
    (order,) = stock_keeper(messages).tool_calls
    assert json.loads(order.arguments) == {"sku": "X-1", "quantity": 17}
    _answered(messages, {"order": "ORD-77", "sku": "X-1", "quantity": 17})
    (report,) = stock_keeper(messages).tool_calls
    assert "ORD-77: 17 of X-1" in json.loads(report.arguments)["content"]
    _answered(messages)
    output = json.loads(stock_keeper(messages).content)
    assert mismatch(output, _spec("stock-keeper").output_schema or {}) is None
    assert output["ordered"] == [{"sku": "X-1", "quantity": 17, "order": "ORD-77"}]
    assert output["report"] == REPORT
