"""Prices over HTTP: entered, listed, corrected, never lost."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest


def enter(admin: httpx.Client, model: str, price: str, **more: str) -> dict[str, Any]:
    body = {"provider": "priced", "model": model, "input_price": price, "output_price": "2", **more}
    answer = admin.post("/v1/prices", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def in_force(client: httpx.Client, model: str) -> str:
    items = client.get("/v1/prices", params={"provider": "priced", "limit": 200}).json()["items"]
    [found] = [str(item["input_price"]) for item in items if item["model"] == model]
    return found


def test_what_is_in_force_is_what_was_valid_last_and_entered_last(admin: httpx.Client, operator: httpx.Client) -> None:
    model = f"org/{secrets.token_hex(6)}"
    enter(admin, model, "9", valid_from="2999-01-01T00:00:00Z")
    assert in_force(admin, model) == "9"  # nothing is in force yet: what comes
    enter(admin, model, "1", valid_from="2020-01-01T00:00:00Z")
    made = enter(admin, model, "0.250", valid_from="2021-01-01T00:00:00+01:00", cached_input_price="0.025")
    assert (made["input_price"], made["cached_input_price"], made["output_price"]) == ("0.25", "0.025", "2")
    assert made["valid_from"] == "2020-12-31T23:00:00.000000Z"
    enter(admin, model, "3", valid_from="2020-06-01T00:00:00Z")
    assert in_force(operator, model) == "0.25"
    enter(admin, model, "0.3", valid_from="2020-12-31T23:00:00Z")
    assert in_force(operator, model) == "0.3"
    enter(admin, model, "4")
    assert in_force(operator, model) == "4"
    seen: list[str] = []
    cursor = None
    while cursor or not seen:
        query: dict[str, str | int] = {
            "provider": "priced",
            "model": model,
            "limit": 2,
            **({"cursor": cursor} if cursor else {}),
        }
        page = operator.get("/v1/prices/history", params=query).json()
        assert all(item["created_by"] is None for item in page["items"])
        seen += [item["input_price"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ["9", "4", "0.3", "0.25", "3", "1"]


def test_entering_a_price_is_noted_and_done_once(admin: httpx.Client) -> None:
    model = secrets.token_hex(6)
    body = {"provider": "priced", "model": model, "input_price": "1", "output_price": "2"}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    first, again = (admin.post("/v1/prices", json=body, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    enter(admin, model, "5")
    entries = admin.get("/v1/audit", params={"target": f"price/priced/{model}"}).json()["items"]
    assert [(e["action"], (e["before"] or {}).get("input_price"), e["after"]["input_price"]) for e in entries] == [
        ("set_price", "1", "5"),
        ("set_price", None, "1"),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"input_price": "-1"}, {"input_price": 1}, {"output_price": "1e3"}, {"output_price": "NaN"},
        {"input_price": "1000000000"}, {"input_price": "0.0000000000001"}, {"model": ""}, {"model": "a b"},
        {"provider": "A"}, {"valid_from": "2026-11-01"}, {"valid_from": "2026-11-01T00:00:00"}, {"currency": "EUR"},
    ],
)  # fmt: skip
def test_odd_prices_are_refused(admin: httpx.Client, changed: dict[str, Any]) -> None:
    body = {"provider": "priced", "model": "odd", "input_price": "1", "output_price": "2", **changed}
    assert admin.post("/v1/prices", json=body).status_code == 422
