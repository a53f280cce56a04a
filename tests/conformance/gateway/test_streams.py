"""Events pass as they come, for as long as they come; who goes away is noticed at the other end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import httpx

from tests.conformance.gateway.conftest import ask
from tests.conformance.gateway.site import Site

# Outside, longer than a gateway waits between two reads of any other answer: GATEWAY_STREAM_SECONDS=120.
SECONDS = float(os.environ.get("GATEWAY_STREAM_SECONDS", "6"))
GAP = min(15.0, SECONDS / 3)


def arrivals(lines: Iterator[str]) -> Iterator[float]:
    return (time.monotonic() for line in lines if line.startswith("data:"))


def test_an_event_is_not_held_back(echoing: Site) -> None:
    headers = {"Accept": "text/event-stream", **echoing.bearer()}
    path = f"{echoing.echo_url}/v1/runs/x/events?gap=2&count=2"
    with httpx.stream("GET", path, headers=headers, timeout=30) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        first, second = arrivals(stream.iter_lines())
    assert second - first > 1.5


def test_a_stream_lives_long(echoing: Site) -> None:
    count = int(SECONDS / GAP) + 1
    path = f"{echoing.echo_url}/v1/runs/x/events?gap={GAP}&count={count}"
    with httpx.stream("GET", path, headers=echoing.bearer(), timeout=GAP + 60) as stream:
        found = list(arrivals(stream.iter_lines()))
    assert len(found) == count
    assert found[-1] - found[0] > SECONDS * 0.8


def test_who_goes_away_is_noticed(echoing: Site) -> None:
    def aborted() -> int:
        return int(ask(echoing.echo_url, "GET", "/v1/aborted", echoing.bearer()).json)

    before = aborted()
    path = f"{echoing.echo_url}/v1/runs/x/events?gap=0.2&count=500"
    with httpx.stream("GET", path, headers=echoing.bearer(), timeout=30) as stream:
        next(arrivals(stream.iter_lines()))
    until = time.monotonic() + 20
    while aborted() == before:
        assert time.monotonic() < until, "the upstream still sends"
        time.sleep(1)


def test_a_run_of_the_api_is_followed(gateway: Site) -> None:
    slug = f"gate-{int(time.time() * 1000):x}"
    spec = {"model": "none/none", "instructions": "Wait."}
    with httpx.Client(base_url=gateway.url, headers=gateway.bearer(), timeout=30) as client:
        client.post("/v1/agents", json={"slug": slug, "spec": spec}).raise_for_status()
        run = client.post("/v1/runs", json={"agent": slug, "input": "x"}).raise_for_status().json()
        headers = {"Accept": "text/event-stream"}
        with client.stream("GET", f"/v1/runs/{run['id']}/events", headers=headers) as stream:
            assert stream.status_code == 200
            assert next(line for line in stream.iter_lines() if line.startswith("event:")) == "event: run.queued"
        client.post(f"/v1/runs/{run['id']}/cancel").raise_for_status()
