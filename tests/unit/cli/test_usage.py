"""The commands about prices and usage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.test_commands import invoke, page
from tests.unit.sdk.scripted import Answer, ScriptedApi, ok

PRICE = {
    "id": "07",
    "provider": "local",
    "model": "small",
    "input_price": "0.5",
    "cached_input_price": "0.5",
    "output_price": "2",
    "valid_from": "2026-11-01T10:00:00.000000Z",
}
RERATING = {
    "id": "08",
    "provider": "local",
    "model": "small",
    "since": "2026-11-01T00:00:00.000000Z",
    "until": "2026-11-02T00:00:00.000000Z",
    "status": "done",
    "calls": 7,
    "corrected": 3,
    "amount_usd": "-0.5",
}
SUMS = {"calls": 1, "cost_usd": "0.125", "estimated": {"calls": 1, "cost_usd": "0.125"}, "unpriced_calls": 3}
REPORT = {
    "since": "2026-11-01T00:00:00.000000Z",
    "until": "2026-12-01T00:00:00.000000Z",
    "group_by": ["day", "agent"],
    "total": SUMS,
    "items": [{**SUMS, "day": "2026-11-02", "agent": "echo"}],
}
READS: list[tuple[list[str], Answer, str]] = [
    (["prices", "list"], page(PRICE), "/v1/prices"),
    (["prices", "history", "local/small"], page(PRICE), "/v1/prices/history"),
    (["prices", "set", "local/small", "--input", "0.5", "--output", "2"], ok(PRICE, 201), "/v1/prices"),
    (["prices", "rerate", "local/small", "--from", "2026-11-01", "--wait", "0"], ok(RERATING, 202), "/v1/re-ratings"),
    (["prices", "reratings"], page(RERATING), "/v1/re-ratings"),
    (["usage", "--by", "day", "--by", "agent"], ok(REPORT), "/v1/usage"),
]


@pytest.mark.parametrize(("arguments", "answer", "path"), READS)
def test_commands_for_people_and_programs(arguments: list[str], answer: Any, path: str) -> None:
    api = ScriptedApi(answer)
    for_people = invoke(api, *arguments)
    assert for_people.exit_code == 0, for_people.output
    assert api.requests[0].url.path == path
    assert "small" in for_people.stdout or "echo" in for_people.stdout
    document = json.loads(answer(api.requests[0]).content)
    document.pop("next_cursor", None)
    assert json.loads(invoke(api, *arguments, "--json").stdout) == document


def test_usage_tells_what_is_not_sure() -> None:
    api = ScriptedApi(ok(REPORT))
    told = invoke(api, "usage", "--by", "day", "--by", "agent", "--from", "2026-11-01", "--label", "team=red").stdout
    assert dict(api.requests[0].url.params)["from"] == "2026-11-01T00:00:00Z"
    assert api.requests[0].url.params.get_list("group_by") == ["day", "agent"]
    assert api.requests[0].url.params["label"] == "team:red"
    for text in ("2026-11-02", "0.125 + unpriced", "0.125 USD of it are estimated", "3 calls have no price"):
        assert text in told
    assert invoke(ScriptedApi(ok(REPORT)), "usage", "--from", "yesterday").exit_code == 2
