"""Requests are tried again when that may help, under one idempotency key, within their bounds; errors are typed."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import agent_runtime
import httpx
import pytest
from agent_runtime import (
    AnswerNotUnderstood,
    ApiProblem,
    ApiUnreachable,
    Client,
    Retry,
    ServerFailed,
    Unusable,
    WaitExpired,
)
from agent_runtime.messages import Reply
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sdk.scripted import ScriptedApi, ok, problem, run

LOST = [
    httpx.ConnectError("refused"),
    httpx.ReadError("reset"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("x"),
]
AGAIN = [problem(status, "busy") for status in (429, 502, 503, 504)]


@pytest.mark.parametrize("failure", [*LOST, *AGAIN, problem(409, "idempotency_key_in_use", retry_after=0)])
def test_a_post_is_repeated_under_its_key(failure: Any) -> None:
    api = ScriptedApi(failure, failure, ok(run(), 202))
    assert api.client().runs.start("echo", "hi").status == "queued"
    assert len(api.requests) == 3
    assert len(set(api.headers("idempotency-key"))) == 1
    assert api.bodies()[0] == api.bodies()[2] == {"agent": "echo", "input": "hi"}


def test_every_call_has_its_own_key_unless_given() -> None:
    api = ScriptedApi(ok(run()))
    client = api.client()
    for key in (None, None, "mine"):
        client.runs.start("echo", None, idempotency_key=key)
    first, second, third = api.headers("idempotency-key")
    assert first != second
    assert third == "mine"
    assert api.bodies()[0] == {"agent": "echo", "input": None}


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
def test_what_will_not_help_is_not_repeated(status: int) -> None:
    api = ScriptedApi(problem(status, "no"))
    with pytest.raises(ApiProblem):
        api.client().runs.get("01")
    assert len(api.requests) == 1


def test_gets_are_repeated_and_then_given_up() -> None:
    api = ScriptedApi(httpx.ConnectError("refused"))
    with pytest.raises(ApiUnreachable, match=r"127\.0\.0\.1:8080.*check that it runs"):
        api.client().runs.get("01", wait=5)
    assert len(api.requests) == 6


def test_a_problem_that_stays_is_raised_as_itself() -> None:
    api = ScriptedApi(problem(503, "dependency_unavailable", detail="Temporal does not answer", retry_after=0))
    with pytest.raises(agent_runtime.DependencyUnavailable, match="Temporal does not answer"):
        api.client().runs.get("01")
    assert len(api.requests) == 6


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("agent_runtime.blocking.time.sleep", slept.append)
    return slept


def test_pauses_are_jittered_double_and_bounded(pauses: list[float]) -> None:
    api = ScriptedApi(httpx.ConnectError("refused"))
    with pytest.raises(ApiUnreachable):
        api.client(retry=Retry(attempts=8, first_pause=1.0, longest_pause=4.0)).runs.get("01")
    assert len(pauses) == 7
    assert all(0 <= pause <= ceiling for pause, ceiling in zip(pauses, [1, 2, 4, 4, 4, 4, 4], strict=True))


def test_retry_after_is_respected(pauses: list[float]) -> None:
    ScriptedApi(problem(429, "slow_down", retry_after=7), ok(run())).client().runs.get("01")
    assert pauses == [7.0]


def test_a_wait_beyond_the_total_is_not_begun(pauses: list[float]) -> None:
    api = ScriptedApi(problem(429, "slow_down", retry_after=3600))
    with pytest.raises(agent_runtime.TooManyRequests) as caught:
        api.client().runs.get("01")
    assert caught.value.retry_after == 3600
    assert pauses == []


@pytest.mark.parametrize(("text", "seconds"), [("5", 5.0), ("", None), ("soon", None), ("-1", None), ("²", None)])
def test_retry_after(text: str, seconds: float | None) -> None:
    assert Reply(429, {"retry-after": text}).retry_after == seconds


def test_retry_after_as_a_date() -> None:
    assert Reply(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}).retry_after == 0.0


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthenticated", "Unauthenticated"),
        (403, "forbidden", "Forbidden"),
        (403, "tenant_suspended", "TenantSuspended"),
        (404, "not_found", "NotFound"),
        (409, "conflict", "Conflict"),
        (409, "run_finished", "RunFinished"),
        (409, "agent_archived", "AgentArchived"),
        (409, "no_promoted_version", "NoPromotedVersion"),
        (409, "something_new", "Conflict"),
        (413, "payload_too_large", "PayloadTooLarge"),
        (415, "unsupported_media_type", "ApiProblem"),
        (422, "invalid_request", "InvalidRequest"),
        (422, "idempotency_key_reused", "IdempotencyKeyReused"),
        (500, "internal", "ServerFailed"),
    ],
)
def test_problems_have_a_class_each(status: int, code: str, kind: str) -> None:
    answer = problem(status, code, detail="Do that.", errors=[{"pointer": "/input", "detail": "too long"}, "odd"])
    with pytest.raises(ApiProblem) as caught:
        ScriptedApi(answer).client().runs.get("01")
    assert type(caught.value).__name__ == kind
    assert (caught.value.status, caught.value.code, caught.value.detail) == (status, code, "Do that.")
    assert caught.value.errors == (agent_runtime.Flaw("/input", "too long"),)
    assert caught.value.as_json()["code"] == code


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'"x"'])
def test_an_error_that_is_no_problem_document(body: bytes) -> None:
    with pytest.raises(ServerFailed, match="status 500"):
        ScriptedApi(httpx.Response(500, content=body)).client().runs.get("01")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": 3}', b"\xff"])
def test_an_answer_of_something_else(body: bytes) -> None:
    with pytest.raises(AnswerNotUnderstood):
        ScriptedApi(httpx.Response(200, content=body)).client().runs.get("01")


def test_a_401_asks_for_a_token_once_more() -> None:
    tokens = iter(["old", "new"])
    api = ScriptedApi(problem(401, "unauthenticated"), ok(run()))
    api.client(token=lambda: next(tokens)).runs.get("01")
    assert api.headers("authorization") == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("token", ["fixed", lambda: "same"])
def test_a_401_that_stays_is_raised(token: str | Callable[[], str]) -> None:
    api = ScriptedApi(problem(401, "unauthenticated"))
    with pytest.raises(agent_runtime.Unauthenticated):
        api.client(token=token).runs.get("01")
    assert len(api.requests) == (2 if callable(token) else 1)


@pytest.mark.parametrize("token", ["", "se cret", "sécret", "a\nb"])
def test_a_token_that_no_header_can_carry_is_not_quoted(token: str) -> None:
    with pytest.raises(Unusable, match="token") as caught:
        ScriptedApi(ok(run())).client(token=token).runs.get("01")
    assert token == "" or token not in str(caught.value)


def test_async_has_the_same_retries_and_async_tokens() -> None:
    async def token() -> str:
        return "from-afar"

    async def start() -> agent_runtime.Run:
        async with api.async_client(token=token) as client:
            return await client.runs.start("echo", "hi")

    api = ScriptedApi(httpx.ConnectError("refused"), problem(503, "x"), problem(401, "unauthenticated"), ok(run()))
    assert asyncio.run(start()).id == "01"
    assert len(set(api.headers("idempotency-key"))) == 1
    assert set(api.headers("authorization")) == {"Bearer from-afar"}


def test_lists_are_walked_page_by_page() -> None:
    pages = [{"items": [run(id=str(n))], "next_cursor": c} for n, c in ((1, "a"), (2, "b+/="), (3, None))]
    api = ScriptedApi(*(ok(page) for page in pages))
    found = api.client().runs.list(status="running", labels={"team": "a:b"}, page_size=1)
    assert next(found).id == "1"
    assert len(api.requests) == 1
    assert [item.id for item in found] == ["2", "3"]
    assert [request.url.params.get("cursor") for request in api.requests] == [None, "a", "b+/="]
    assert all(request.url.params["label"] == "team:a:b" for request in api.requests)


def test_events_are_walked_by_their_numbers() -> None:
    api = ScriptedApi(*(ok({"items": [{"seq": n, "type": "x"}], "next_cursor": c}) for n, c in ((3, "3"), (4, None))))
    assert [event.seq for event in api.client().runs.events("01", after=2)] == [3, 4]
    assert [request.url.params["after"] for request in api.requests] == ["2", "3"]


def test_async_lists() -> None:
    async def slugs() -> list[str]:
        async with ScriptedApi(ok({"items": [{"slug": "a"}], "next_cursor": None})).async_client() as client:
            return [agent.slug async for agent in client.agents.list()]

    assert asyncio.run(slugs()) == ["a"]


def test_a_page_that_is_none() -> None:
    with pytest.raises(AnswerNotUnderstood, match="not a page"):
        list(ScriptedApi(ok([])).client().agents.list())


def test_waiting_until_the_end(pauses: list[float]) -> None:
    api = ScriptedApi(ok(run("running")), ok(run("completed", output="done")))
    assert api.client().runs.wait("01", timeout=60).output == "done"
    assert [request.url.params["wait"] for request in api.requests] == ["30", "30"]
    assert api.requests[0].extensions["timeout"]["read"] == 45


def test_waiting_too_long() -> None:
    with pytest.raises(WaitExpired, match="it goes on") as caught:
        ScriptedApi(ok(run("running"))).client().runs.wait("01", timeout=0)
    assert caught.value.run.status == "running"


def test_start_and_wait_in_one() -> None:
    api = ScriptedApi(ok(run(), 202), ok(run("failed", error={"code": "model_error", "message": "no"})))
    done = api.client().runs.run("echo", {"a": 1}, limits={"cost_usd": Decimal("0.10")}, labels={"k": "v"}, priority=1)
    assert done.error is not None
    assert (done.succeeded, done.finished, done.error.code) == (False, True, "model_error")
    assert json.loads(api.requests[0].content) == {
        "agent": "echo",
        "input": {"a": 1},
        "limits": {"cost_usd": "0.10"},
        "labels": {"k": "v"},
        "priority": 1,
    }


def test_unknown_fields_are_kept() -> None:
    found = ScriptedApi(ok(run(colour="red", created_at="2026-01-01T00:00:00.000001Z"))).client().runs.get("01")
    assert found.as_json()["colour"] == "red"
    assert found.created_at == datetime(2026, 1, 1, 0, 0, 0, 1, UTC)


def test_paths_are_encoded() -> None:
    api = ScriptedApi(ok({"slug": "a"}))
    api.client().agents.get("a/../b?c")
    assert api.requests[0].url.raw_path == b"/v1/agents/a%2F..%2Fb%3Fc"


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_a_segment_that_names_another_resource(segment: str) -> None:
    with pytest.raises(Unusable, match="empty"):
        ScriptedApi(ok({})).client().agents.archive(segment)


@pytest.mark.parametrize("value", [math.nan, object(), b"bytes"])
def test_input_that_json_cannot_say(value: object) -> None:
    with pytest.raises(Unusable, match="JSON"):
        ScriptedApi(ok(run())).client().runs.start("echo", value)


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_value_is_an_input(value: Any) -> None:
    api = ScriptedApi(ok(run()))
    api.client().runs.start("echo", value)
    assert api.bodies()[0]["input"] == value


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://x", "", "http://user:pw@host", "http://host?token=x", "http://host:port"]
)
def test_urls_that_cannot_be_meant(url: str) -> None:
    with pytest.raises(Unusable, match="api_url") as caught:
        Client(url)
    assert "pw" not in str(caught.value)


def test_a_run_has_one_of_the_statuses() -> None:
    api = ScriptedApi(ok({"items": [], "next_cursor": None}))
    list(api.client().runs.list(status=["failed", "cancelled"]))
    assert api.requests[0].url.params.get_list("status") == ["failed", "cancelled"]
