"""Scores of runs: kept under the name of whoever gave them, once per Idempotency-Key, paged, gone with their run."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import Clients
from tests.integration.api.records import Records
from tests.integration.api.test_runs import start


def test_a_score_comes_back_as_it_was_given(user: httpx.Client, agent: str) -> None:
    for value in (1, -0.25, 1e300, True, False, "wrong customer"):
        given_and_kept(user, start(user, agent), value)


def given_and_kept(user: httpx.Client, run: dict[str, Any], value: Any) -> None:
    body = {"name": "accuracy", "value": value, "comment": "checked by hand"}
    answer = user.post(f"/v1/runs/{run['id']}/scores", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert {name: made[name] for name in body} == body
    assert type(made["value"]) is type(value)
    assert (made["run_id"], made["created_by"]) == (run["id"], run["created_by"])
    assert user.get(f"/v1/runs/{run['id']}/scores").json() == {"items": [made], "next_cursor": None}


def test_scores_are_given_once_per_key_and_listed_newest_first(
    operator: httpx.Client, user: httpx.Client, agent: str
) -> None:
    run = start(user, agent)["id"]
    answers = [
        operator.post(
            f"/v1/runs/{run}/scores", json={"name": "n", "value": n // 2}, headers={"Idempotency-Key": f"k{n // 2}"}
        )
        for n in range(6)
    ]
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true"] * 3
    first = user.get(f"/v1/runs/{run}/scores", params={"limit": 2}).json()
    second = user.get(f"/v1/runs/{run}/scores", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [item["value"] for item in first["items"] + second["items"]] == [2, 1, 0]
    assert second["next_cursor"] is None


NO_SCORES: list[Any] = [
    {"name": "n"},
    {"name": "", "value": 1},
    {"name": " n", "value": 1},
    {"name": "n", "value": None},
    {"name": "n", "value": [1]},
    {"name": "n", "value": ""},
    {"name": "n", "value": 2**60},
    {"name": "n", "value": "a\0b"},
    {"name": "n", "value": 1, "by": "somebody else"},
]


def test_what_is_no_score_is_refused(user: httpx.Client, agent: str) -> None:
    run = start(user, agent)["id"]
    for body in NO_SCORES:
        answer = user.post(f"/v1/runs/{run}/scores", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body
        assert {flaw["pointer"] for flaw in answer.json()["errors"]} <= {"/name", "/value", "/by"}, body


def test_a_user_neither_scores_nor_reads_anothers_run(
    client: Clients, tenant: str, operator: httpx.Client, agent: str
) -> None:
    run = start(operator, agent)["id"]
    stranger = client("user", tenant, "carl")
    assert stranger.post(f"/v1/runs/{run}/scores", json={"name": "n", "value": 1}).status_code == 404
    assert stranger.get(f"/v1/runs/{run}/scores").status_code == 404


def test_nobody_changes_a_score(user: httpx.Client, agent: str, records: Records) -> None:
    run = start(user, agent)["id"]
    user.post(f"/v1/runs/{run}/scores", json={"name": "n", "value": 1})
    for change in ("number = 2", "comment = 'x'", "created_by = 'y'"):
        with pytest.raises(Exception, match="permission denied"):
            records.sql(f"UPDATE scores SET {change} WHERE run_id = '{run}'")
    with pytest.raises(Exception, match="permission denied"):
        records.sql(f"DELETE FROM scores WHERE run_id = '{run}'")
