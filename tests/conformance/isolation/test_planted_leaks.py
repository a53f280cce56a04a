"""`isolation-check` at the API: the walls hold, every route is attacked, each leak is found by the attack for it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import httpx
import pytest

from services.api.application import create_app
from services.api.openapi import document
from services.cli.isolation import attacks as kinds
from services.cli.isolation.attacks import operations
from services.cli.isolation.check import LEAK, UNKNOWN_ROUTE, UNPROVEN, Check, Report, furnished
from services.cli.isolation.parties import Party
from services.cli.isolation.routes import ROUTES
from tests.fixtures.stack import TestServers

DOCUMENT = document(create_app())
NEEDS_MORE: set[str] = set()  # routes that are not offered where only the API and its servers run
# What these answer is the same for both tenants here, so that the other tenant's answer in its place is no leak.
ALIKE = {"GET /v1/plans/{plan}", "GET /v1/audit/head", "GET /v1/usage"}


class Leaky(httpx.HTTPTransport):
    """An API with a hole: requests of the attacker that fit are answered as the victim's own."""

    def __init__(self) -> None:
        super().__init__()
        self.victim: Party | None = None
        self.token = ""
        self.planted = ("", "")  # route and kind of attack
        self.shared = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        name, kind = self.planted
        if not name or not self._fits(request, kind):
            return super().handle_request(request)
        assert self.victim
        if ROUTES[name].forbidden:
            return httpx.Response(200, json={})
        if not (ROUTES[name].public or name in ALIKE):
            request.headers["Authorization"] = f"Bearer {self.token}"
            answer = super().handle_request(request)
            if answer.status_code < 400:
                return answer
            answer.close()
        return httpx.Response(200, json={"leak": next(iter(self.victim.runs))})

    def _fits(self, request: httpx.Request, kind: str) -> bool:
        assert self.victim
        told, path = request.content.decode("latin-1"), request.url.path
        params, theirs = request.url.params, set(self.victim.values.values()) - {"1", self.shared}
        forged, streams = "x-tenant-id" in request.headers, "event-stream" in request.headers.get("accept", "")
        if kind in (kinds.HEADER, kinds.STREAM, kinds.KEY):
            keyed = "idempotency-key" in request.headers
            return {kinds.HEADER: forged, kinds.STREAM: streams, kinds.KEY: keyed}[kind]
        if forged or streams or "idempotency-key" in request.headers:
            return False
        if kind == kinds.FILTER:
            return bool(theirs & set(params.values())) and not {"cursor", "after"} & set(params)
        return {
            kinds.PATH: any(value in path for value in theirs),
            kinds.BODY: any(value in told for value in theirs),
            kinds.CURSOR: bool({"cursor", "after"} & set(params)),
            kinds.NAMES: self.victim.values["artifact_name"] in params.get("name", ""),
            kinds.SHARED: self.shared in path,
        }[kind]


class Ground:
    """Two furnished tenants, and a hole between them."""

    def __init__(self, servers: TestServers, api_url: str) -> None:
        def token(tenant: str) -> str:
            return servers.stack.token(role="operator", tenant=tenant, subject="checker", lifetime=3600)

        slugs = [f"iso-{token_hex(5)}" for _ in "ab"]
        headers = {"Authorization": f"Bearer {servers.stack.token(role='admin')}"}
        for slug in slugs:
            httpx.post(f"{api_url}/v1/tenants", json={"slug": slug}, headers=headers).raise_for_status()
        self.hole = Leaky()
        self.attacker = Party("A", api_url, token(slugs[0]), self.hole)
        self.victim = Party("B", api_url, token(slugs[1]))
        furnished(self.attacker, self.victim, patience=0)
        self.hole.victim, self.hole.token = self.victim, token(slugs[1])
        self.hole.shared = self.victim.values["shared"]
        self.check = Check(self.attacker, self.victim, DOCUMENT)

    def finds(self, name: str, kind: str) -> bool:
        """Whether a hole at a route is found by an attack of this kind."""
        self.hole.planted = (name, kind)
        found = Report()
        try:
            self.check.run(found, only={name}, kinds={kind})
        finally:
            self.hole.planted = ("", "")
        return (name, kind, LEAK) in {(finding.where, finding.attack, finding.kind) for finding in found.findings}


@pytest.fixture(scope="module")
def ground(servers: TestServers, api_url: str) -> Iterator[Ground]:
    made = Ground(servers, api_url)
    yield made
    made.attacker.close()
    made.victim.close()


@pytest.fixture(scope="module")
def report(ground: Ground) -> Report:
    """What the whole check finds where there is no hole."""
    made = Report()
    ground.check.run(made)
    return made


def test_the_walls_hold_and_every_route_is_attacked(report: Report) -> None:
    assert report.findings == []
    assert set(report.tried) == {operation.name for operation in operations(DOCUMENT)} == set(ROUTES)
    silent = {name for name, tried in report.tried.items() if not sum(tried.values())}
    assert report.not_offered | silent <= NEEDS_MORE
    assert {kind for tried in report.tried.values() for kind in tried} >= set(kinds.KINDS)


def test_every_leak_is_found_by_the_attack_for_it(ground: Ground, report: Report) -> None:
    """One hole at a time, reads first, deletions last: at each route for a kind of attack, with EVERY_LEAK for each."""
    planted: list[tuple[str, str]] = []
    often: Counter[str] = Counter()
    for name, tried in report.tried.items():
        fitting = sorted((kind for kind in kinds.KINDS if tried[kind]), key=lambda kind: often[kind])
        chosen = fitting if "EVERY_LEAK" in os.environ else fitting[:1]
        often.update(chosen)
        planted += [(name, kind) for kind in chosen]
    assert {kind for _, kind in planted} == set(kinds.KINDS)
    missed = [plant for plant in planted if not ground.finds(*plant)]
    assert not missed, "\n".join(map(str, missed))


def test_a_route_without_an_attack_fails_the_check(ground: Ground) -> None:
    grown: dict[str, Any] = json.loads(json.dumps(DOCUMENT))
    grown["paths"]["/v1/novelties"] = {"get": {"responses": {}}}
    report = Report()
    Check(ground.attacker, ground.victim, grown).run(report, only={"GET /v1/novelties"})
    assert [(finding.kind, finding.where) for finding in report.findings] == [(UNKNOWN_ROUTE, "GET /v1/novelties")]


def test_an_attack_that_proves_nothing_is_told(ground: Ground) -> None:
    run = ground.victim.values["run"]
    ground.victim.values["run"] = "00000000-0000-7000-8000-000000000000"
    try:
        report = Report()
        ground.check.run(report, only={"GET /v1/runs/{run_id}"})
    finally:
        ground.victim.values["run"] = run
    assert UNPROVEN in {finding.kind for finding in report.findings}
