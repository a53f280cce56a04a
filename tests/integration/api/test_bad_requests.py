"""Nothing that a client can send gives a 500: by hand, and by property."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.api.bodies import MAX_BODY
from tests.integration.api.contract import Contract

RUN = "/v1/runs/01a206d7-fd36-7945-a3b2-f72accc65738"
PATHS = (
    "/v1/tenants", "/v1/tenants/x", "/v1/agents", "/v1/agents/x", "/v1/agents/x/versions", "/v1/agents/x/versions/1",
    "/v1/agents/x/versions/1/promote", "/v1/runs", RUN, f"{RUN}/pause", f"{RUN}/resume", f"{RUN}/cancel",
    f"{RUN}/events", f"{RUN}/artifacts", "/v1/artifacts", "/v1/artifacts/01a206d7-fd36-7945-a3b2-f72accc65738/content",
    "/v1/version", "/healthz", "/nothing",
)  # fmt: skip
PROPERTY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
ODD_TEXT = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    ["\x00", "\ud800", "a" * 5000, "0", "-1", "1e999", "NaN", "99999999999999999999", "null", "[]", "٣", "%00", "'"]
)
ODD_NUMBERS = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | ODD_NUMBERS | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD_TEXT, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["agent", "input", "version", "limits", "labels", "priority", "slug", "name", "id", "status", "spec", "description",
     "promote", "reason", "model", "tools", "output_schema", "parameters", "steps", "cost_usd", "instructions"]
)  # fmt: skip
GOOD = {
    "agent": "helper", "input": "x", "slug": "abc", "spec": {"model": "p/m"}, "version": 1, "priority": 2,
    "limits": {"steps": 2, "cost_usd": "1"}, "labels": {"a": "b"}, "name": "n", "promote": True,
}  # fmt: skip


def fine(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) >= {"type", "title", "status", "detail", "code"}
        assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"nul", b"[]", b"1", b'"x"', b"null", b'{"agent":NaN,"input":1}',
        b'{"agent":"helper","input":Infinity}', b'{"agent":"helper","input":1e999}', b'{"agent":"helper","agent":"x"}',
        b'{"agent":"helper","input":' + b"[" * 200 + b"]" * 200 + b"}", b"[" * 100_000, b'{"a":' * 50_000,
        b'{"agent":"helper","input":' + b"9" * 5000 + b"}", b'{"agent":"helper\\u0000","input":1}',
        b'{"agent":"\\ud800","input":1}', b'{"agent":"helper","input":1,"labels":{"a":"\\u0000"}}',
        b'{"agent":"helper","input":1,"labels":{"a":"\\ud800"}}', b'{"agent":"helper","input":1,"\\ud800":1}',
        b'{"agent":"helper","input":1,"limits":{"cost_usd":"NaN"}}', b'{"agent":"helper","input":1,"version":true}',
        b'{"agent":"helper","input":1,"limits":{"cost_usd":1e-4000}}', b'{"agent":"helper"}',
    ],
)  # fmt: skip
def test_bodies_that_mean_nothing(operator: httpx.Client, agent: str, body: bytes) -> None:
    answer = operator.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    fine(answer)
    assert answer.status_code == 422


@pytest.mark.parametrize("value", [10**1000, -(10**4000), 1e-300, [[[]]] * 50, {"": {"": ""}}, "\u2028\x7f", -0.0])
def test_odd_values_that_mean_something_come_back(operator: httpx.Client, agent: str, value: Any) -> None:
    answer = operator.post("/v1/runs", json={"agent": agent, "input": value})
    assert answer.status_code == 202
    assert operator.get(answer.headers["location"]).json()["input"] == value


def test_bodies_are_limited_while_they_arrive(operator: httpx.Client) -> None:
    sent = 0

    def chunks() -> Any:
        nonlocal sent
        for _ in range(64):
            sent += 65_536
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    for content in (b" " * (MAX_BODY + 1), chunks()):
        answer = operator.post("/v1/runs", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert operator.get("/v1/runs").status_code == 200


def test_a_body_of_the_longest_length_is_taken(operator: httpx.Client, agent: str) -> None:
    frame = json.dumps({"agent": agent, "input": ""})
    body = frame[:-2] + "x" * (MAX_BODY - len(frame)) + frame[-2:]
    answer = operator.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_other_media_types(operator: httpx.Client, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = operator.post("/v1/runs", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_paths_and_methods_that_are_not_there(operator: httpx.Client) -> None:
    answer = operator.get("/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = operator.put("/v1/runs")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"] or "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x", "limit=0", "limit=201", "limit=x", "agent=%00", "agent=%ff", "status=odd", "label=x", "label=A:b",
        "label=a:%00", "created_after=yesterday", "created_after=2020-01-01T00:00:00", "created_after=1e400",
        "created_after=0001-01-01T00:00:00%2B14:00", "created_before=9999-12-31T23:59:59-14:00",
        "created_after=999999999999999999999999",
    ],
)  # fmt: skip
def test_odd_filters(operator: httpx.Client, query: str) -> None:
    answer = operator.get(f"/v1/runs?{query}")
    fine(answer)
    assert answer.status_code == 422


def test_times_at_the_edges_are_filters(operator: httpx.Client) -> None:
    for query in ("created_after=0001-01-01T00:00:00Z", "created_before=9999-12-31T23:59:59.999999Z"):
        assert operator.get(f"/v1/runs?{query}").status_code == 200


@pytest.mark.parametrize("key", [b"", b"a b", b"a" * 256, b"\xff", "ü".encode()])
def test_odd_keys(operator: httpx.Client, key: bytes) -> None:
    answer = operator.post("/v1/runs", json={"agent": "x", "input": 1}, headers={b"Idempotency-Key": key})
    fine(answer)
    assert answer.status_code == 422


def test_a_header_twice(operator: httpx.Client, agent: str) -> None:
    token = operator.headers["authorization"]
    twice = [("Authorization", token), ("Authorization", token)]
    assert httpx.get(f"{operator.base_url}/v1/runs", headers=twice).status_code == 401
    keys = [("Authorization", token), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    body = {"agent": agent, "input": 1}
    assert httpx.post(f"{operator.base_url}/v1/runs", headers=keys, json=body).status_code == 422


def test_who_is_not_known_learns_nothing_else(api_url: str, contract: Contract) -> None:
    with httpx.Client(base_url=api_url, event_hooks={"response": [contract.check]}) as stranger:
        for headers in (
            {},
            {"Authorization": "Basic eDp5"},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer x.y.z"},
        ):
            answer = stranger.post("/v1/runs", content=b"{", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@PROPERTY
@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]),
    path=st.sampled_from(PATHS),
    body=st.binary(max_size=200),
)
def test_any_bytes(operator: httpx.Client, agent: str, method: str, path: str, body: bytes) -> None:
    fine(operator.request(method, path, content=body, headers={"Content-Type": "application/json"}))


@PROPERTY
@given(
    path=st.sampled_from([path for path in PATHS if path.startswith("/v1")]),
    body=st.dictionaries(NAMES, JSON, max_size=5),
    good=st.sets(st.sampled_from(sorted(GOOD))),
)
def test_any_json(
    operator: httpx.Client, admin: httpx.Client, agent: str, path: str, body: dict[str, Any], good: set[str]
) -> None:
    content = json.dumps({**{name: GOOD[name] for name in good}, **body})
    sender = admin if path.startswith("/v1/tenants") else operator
    for method in ("POST", "PATCH"):
        fine(sender.request(method, path, content=content, headers={"Content-Type": "application/json"}))


@PROPERTY
@given(spec=st.dictionaries(NAMES, JSON, max_size=4), tool=st.dictionaries(ODD_TEXT, JSON, max_size=3))
def test_any_spec(operator: httpx.Client, agent: str, spec: dict[str, Any], tool: dict[str, Any]) -> None:
    tools = [
        {
            "type": "http",
            "name": "t",
            "description": "d",
            "effect": "read",
            "method": "GET",
            "url": "https://x/",
            **tool,
        }
    ]
    for changed in ({"model": "p/m", **spec}, {"model": "p/m", "tools": tools}):
        content = json.dumps({"spec": changed})
        fine(
            operator.post(f"/v1/agents/{agent}/versions", content=content, headers={"Content-Type": "application/json"})
        )


@PROPERTY
@given(
    path=st.sampled_from(PATHS),
    query=st.dictionaries(
        st.sampled_from(
            ["limit", "cursor", "after", "agent", "status", "label", "created_after", "wait", "run_id", "name"]
        ),
        ODD_TEXT.filter(lambda text: text not in ("", "0")),
        max_size=3,
    ),
    segment=ODD_TEXT,
)
def test_any_query_and_path(operator: httpx.Client, path: str, query: dict[str, str], segment: str) -> None:
    quoted = "&".join(f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in query.items())
    fine(operator.get(f"{path}?{quoted}"))
    fine(operator.get(f"{path}/{quote(segment.encode('utf-8', 'surrogatepass'), safe='')[:2000]}"))


@PROPERTY
@given(
    name=st.sampled_from(
        [b"authorization", b"idempotency-key", b"last-event-id", b"accept", b"range", b"if-none-match", b"content-type",
         b"traceparent", b"content-length", b"transfer-encoding"]
    ),
    value=st.binary(max_size=60).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
    path=st.sampled_from(["/v1/runs", f"{RUN}/events", "/v1/artifacts?name=x"]),
    method=st.sampled_from([b"GET", b"POST"]),
)  # fmt: skip
def test_any_header(operator: httpx.Client, name: bytes, value: bytes, path: str, method: bytes) -> None:
    token = operator.headers["authorization"].encode()
    address = urlsplit(str(operator.base_url))
    lines = [b"%b %b HTTP/1.1" % (method, path.encode()), b"Host: x", b"Connection: close", b"Authorization: " + token]
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(b"\r\n".join([*lines, name + b": " + value, b"", b""]))
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(64)
    assert not answer or b" 5" not in answer[:12], answer
