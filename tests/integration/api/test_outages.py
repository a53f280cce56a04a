"""Parts that are dead, or worse, hang: what does not need them goes on as fast, what does says so."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fixtures.stack import TestServers
from tests.integration.api.conftest import Clients
from tests.integration.api.proxy import proxied
from tests.integration.api.records import Records
from tests.integration.api.sse import events_of
from tests.integration.api.test_artifacts import upload
from tests.integration.api.test_runs import start

QUICK = 0.6  # seconds, on a busy machine


@contextmanager
def api_with(servers: TestServers, **environment: str) -> Iterator[str]:
    """An API of its own, for which some addresses are others."""
    name = f"api-{os.urandom(4).hex()}"
    url = servers.stack.add_api(name, environment={**servers.environment, **environment})
    try:
        yield url
    finally:
        pid = servers.stack.pid(name)
        if pid:
            os.kill(pid, 15)


@contextmanager
def silence() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def timed(client: httpx.Client, agent: str) -> float:
    began = time.monotonic()
    start(client, agent)
    return time.monotonic() - began


@pytest.mark.parametrize("how", ["dead", "hanging"])
def test_runs_are_accepted_without_redis_temporal_and_store(
    servers: TestServers, client: Clients, tenant: str, agent: str, records: Records, how: str
) -> None:
    with silence() as silent:
        port = silent if how == "hanging" else closed_port()
        away = {
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        with api_with(servers, **away) as url:
            operator = client("operator", tenant, url=url)
            assert max(timed(operator, agent) for _ in range(30)) < QUICK
            report = operator.get("/readyz").json()
            assert report["status"] == "ok"
            states = {name: part["status"] for name, part in report["dependencies"].items()}
            assert states == {
                "database": "ok", "oidc": "ok", "redis": "down", "temporal": "down", "object_store": "down"
            }  # fmt: skip
            run_id = start(operator, agent)["id"]
            with events_of(operator, run_id) as frames:
                list(islice(frames, 2))
                began = time.monotonic()
                records.complete(run_id)
                assert next(frames).event == "run.completed"
                assert time.monotonic() - began < 3
            if how == "dead":
                answer = upload(operator, b"x", **{"Idempotency-Key": "again"})
                assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
                assert int(answer.headers["retry-after"]) > 0
                large = operator.post("/v1/runs", json={"agent": agent, "input": "x" * 70_000})
                assert large.status_code == 503
                assert operator.get("/v1/artifacts").json()["items"] == []


def test_redis_may_freeze_and_come_back(
    servers: TestServers, client: Clients, tenant: str, agent: str, records: Records
) -> None:
    redis = urlsplit(servers.environment["REDIS_URL"])
    assert redis.port
    with (
        proxied(redis.port) as proxy,
        api_with(servers, REDIS_URL=f"redis://127.0.0.1:{proxy.port}{redis.path}") as url,
    ):
        operator = client("operator", tenant, url=url)
        run_id = start(operator, agent)["id"]
        with events_of(operator, run_id) as frames:
            list(islice(frames, 2))
            time.sleep(0.3)
            records.start(run_id)
            assert next(frames).event == "run.started"
            proxy.freeze()
            assert max(timed(operator, agent) for _ in range(20)) < QUICK
            time.sleep(3)
            began = time.monotonic()
            records.model_started(run_id)
            assert next(frames).event == "model.started"
            assert time.monotonic() - began < 2.5
            operator.post(f"/v1/runs/{run_id}/pause")
            assert next(frames).event == "run.pausing"
            proxy.thaw()
            time.sleep(3)
            began = time.monotonic()
            records.complete(run_id)
            assert next(frames).event == "run.completed"
            assert time.monotonic() - began < 1.5


def test_without_the_database_the_answer_is_503(servers: TestServers, client: Clients, tenant: str, agent: str) -> None:
    address = urlsplit(servers.environment["DATABASE_URL"])
    assert address.port
    with proxied(address.port) as proxy:
        through = {
            name: servers.environment[name].replace(f":{address.port}/", f":{proxy.port}/")
            for name in ("DATABASE_URL", "DATABASE_MAINTENANCE_URL")
        }
        with api_with(servers, **through) as url:
            operator = client("operator", tenant, url=url)
            start(operator, agent)
            proxy.freeze()
            time.sleep(1.2)  # a report is believed for a second
            assert operator.get("/readyz").status_code == 503
            answer = operator.get("/v1/runs", timeout=40)
            assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
            assert answer.headers["retry-after"]
            assert operator.get("/healthz").status_code == 200
            proxy.thaw()
            time.sleep(2)
            assert operator.get("/v1/runs").status_code == 200
