"""Makes cases from the OpenAPI document, sends them, and holds every answer against the document."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from requests.structures import CaseInsensitiveDict
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.api.roles import ROLES
from tests.conformance.api.ground import Ground

AnyCase = Case[Any]
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Of HTTP itself; every other header of an answer must be in the document.
PLAIN_HEADERS = frozenset({"content-type", "content-length", "date", "transfer-encoding", "connection"})
# What a DELETE may name: others need the rest.
DOOMED = {"agent": ["doomed"], "tenant": ["victim-3"]}
MADE = {"runs": "run_id", "artifacts": "artifact_id", "agents": "agent"}
KEPT = 4
ROUND = 10
REMEMBERED = 40
TIMEOUT = 30


@dataclass
class Findings:
    """What a process found: cases and statuses counted, failures once each with a request that shows it."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    by_operation: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, other: Findings) -> None:
        self.cases += other.cases
        self.statuses += other.statuses
        self.by_operation += other.by_operation
        for name, seconds in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0) + seconds
        for name, example in other.failures.items():
            self.failures.setdefault(name, example)


@dataclass
class Target:
    """An operation with the cases that can be made for it, and the roles that send them."""

    label: str
    edges: Callable[[], Iterator[AnyCase]]
    strategies: list[SearchStrategy[AnyCase]]
    roles: list[str | None]


def targets(schema: Any) -> Iterator[Target]:
    for result in schema.get_all_operations():
        operation = result.ok()
        allowed = sorted(ROLES[_name(operation)])
        # Most cases come from somebody who is let in; the others see that nobody else is, as documented.
        roles = [*allowed * 6, "admin", "operator", "user", None]
        positive = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        negative = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        yield Target(operation.label, partial(_edges, schema, operation), [positive, positive, negative], roles)


def _name(operation: Any) -> str:
    """As FastAPI has made the operation's id of the route's name, path and method."""
    ending = re.sub(r"\W", "_", f"{operation.path}_{operation.method}")
    return str(operation.definition.raw["operationId"]).removesuffix(ending)


def _edges(schema: Any, operation: Any) -> Iterator[AnyCase]:
    """Every constraint of the document at its edges; and other methods, other media types, parts left out."""
    config = schema.config.generation_for(operation=operation)
    found: Iterator[AnyCase] = schema.iter_coverage_cases(
        operation, generation_modes=list(GenerationMode), generation_config=config
    )
    return found


class Fuzzer:
    """Sends cases of one process and keeps what it finds."""

    def __init__(self, ground: Ground, session: requests.Session, wanted: int, seed: int) -> None:
        self.findings = Findings()
        self._ground = ground
        self._session = session
        self._wanted = wanted
        self._seed = seed
        self._chooser = random.Random(seed)

    @property
    def missing(self) -> int:
        return self._wanted - self.findings.cases

    def edges(self, target: Target) -> None:
        for case in target.edges():
            if self.missing > 0:
                self._send(case, self._chooser.choice(target.roles))

    def round(self, target: Target) -> None:
        """Some more cases of each kind."""
        for strategy in target.strategies:
            if self.missing <= 0:
                return
            self._seed += 1

            @hypothesis.seed(self._seed)
            @hypothesis.settings(
                max_examples=min(ROUND, self.missing),
                phases=[Phase.generate],
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            @hypothesis.given(case=strategy)
            def send(case: AnyCase) -> None:
                self._send(case, self._chooser.choice(target.roles))

            # Nothing can be wrong with a request that takes nothing.
            with suppress(Unsatisfiable):
                send()

    def _send(self, case: AnyCase, role: str | None) -> None:
        self._prepare(case, role)
        self.findings.cases += 1
        self.findings.by_operation[case.operation.label] += 1
        began = time.monotonic()
        try:
            response = case.call(
                base_url=self._ground.url, session=self._session, timeout=TIMEOUT, allow_redirects=False
            )
        except (requests.RequestException, Failure) as error:
            self._note(case, "no answer", f"{type(error).__name__}: {error}")
            return
        finally:
            label = case.operation.label
            self.findings.seconds[label] = self.findings.seconds.get(label, 0) + time.monotonic() - began
        self.findings.statuses[response.status_code] += 1
        _remember(response.headers.get("location", [""])[0], self._ground.known)
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                title = getattr(failure, "title", type(failure).__name__)
                self._note(case, f"{response.status_code} {title}", str(group))
        for name in undocumented_headers(case, response):
            self._note(case, f"{response.status_code} header {name} is not documented", case.as_curl_command())

    def _prepare(self, case: AnyCase, role: str | None) -> None:
        _name_what_exists(case, self._ground.known, self._chooser)
        headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"}
        # A stream would not end; what it says is tested elsewhere.
        headers["Accept"] = "application/json"
        if role is not None:
            headers["Authorization"] = f"Bearer {self._ground.tokens[role]}"
        case.headers = CaseInsensitiveDict(headers)
        if isinstance(case.query, dict) and "wait" in case.query:
            case.query["wait"] = 0

    def _note(self, case: AnyCase, what: str, example: str) -> None:
        self.findings.failures.setdefault(f"{case.operation.label}: {what}", example[:1500])


def fuzz(ground: Ground, wanted: int, number: int, processes: int, seed: int) -> Findings:
    """Send as many cases as wanted; `number` is this process among the others."""
    with requests.Session() as session:
        document = session.get(f"{ground.url}/openapi.json", timeout=TIMEOUT).json()
        found = sorted(targets(schemathesis.openapi.from_dict(document)), key=lambda target: target.label)
        fuzzer = Fuzzer(ground, session, wanted, seed + 10_000_000 * number)
        for target in found[number::processes]:
            fuzzer.edges(target)
        for target in itertools.cycle(found):
            if fuzzer.missing <= 0:
                return fuzzer.findings
            fuzzer.round(target)
    return fuzzer.findings


def undocumented_headers(case: AnyCase, response: Any) -> list[str]:
    described = case.operation.definition.raw["responses"].get(str(response.status_code))
    if described is None:  # which the check of statuses judges
        return []
    known = {name.lower() for name in described.get("headers", {})} | PLAIN_HEADERS
    return sorted(name for name in response.headers if name.lower() not in known)


def _name_what_exists(case: AnyCase, known: dict[str, list[str]], chooser: random.Random) -> None:
    """Half of the cases name things that are there: the others would mostly see a 404."""
    for name, values in {**known, **(DOOMED if case.method == "DELETE" else {})}.items():
        for place, share in ((case.path_parameters, 0.6), (case.query, 0.3), (case.body, 0.6)):
            if isinstance(place, dict) and name in place and chooser.random() < share:
                place[name] = chooser.choice(values)


def _remember(location: str, known: dict[str, list[str]]) -> None:
    """What a case has made, later ones can name: /v1/runs/<id> as `run_id`, and its like."""
    noun, _, name = location.removeprefix("/v1/").partition("/")
    values = known.get(MADE.get(noun, ""))
    if values is not None and name and "/" not in name:
        values.append(unquote(name))
        # What was there from the start stays.
        del values[KEPT:-REMEMBERED]
