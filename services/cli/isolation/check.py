"""The check: every route of the document, every attack, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from services.cli.isolation import furnishing
from services.cli.isolation.attacks import KINDS, Attack, Attacks, Operation, filled, operations
from services.cli.isolation.parties import Answer, Party, Shot
from services.cli.isolation.routes import ROUTES, Route
from services.cli.isolation.verdicts import NOT_OFFERED, Watch, leaks

LEAK, UNPROVEN, UNKNOWN_ROUTE = "leak", "unproven", "no attack"


@dataclass(frozen=True)
class Finding:
    """What is wrong: a leak, an attack that proves nothing, or a route that nobody attacks."""

    kind: str
    where: str  # route or layer
    attack: str
    detail: str
    request: str = ""

    def as_json(self) -> dict[str, str]:
        return {name: value for name, value in self.__dict__.items() if value}


@dataclass
class Report:
    """What was tried, by route or layer and kind of attack, and what was found."""

    tried: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    not_offered: set[str] = field(default_factory=set)

    def note(self, where: str, attack: str, count: int = 1) -> None:
        self.tried.setdefault(where, Counter())[attack] += count

    @property
    def attempts(self) -> int:
        return sum(sum(kinds.values()) for kinds in self.tried.values())

    @property
    def holds(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "attempts": self.attempts,
            "tried": {where: dict(+kinds) for where, kinds in self.tried.items()},
            "findings": [finding.as_json() for finding in self.findings],
            "not_offered": sorted(self.not_offered),
        }


class Check:
    """One direction: what the attacker can get of the victim's. Both are furnished once."""

    def __init__(self, attacker: Party, victim: Party, document: Mapping[str, Any]) -> None:
        self.attacker = attacker
        self.victim = victim
        self._operations = operations(document)
        self._watch = Watch(victim, self._operations)
        self._attacks = Attacks(attacker, victim, furnishing.nowhere())

    def run(self, report: Report, only: Collection[str] = (), kinds: Collection[str] = KINDS) -> None:
        """Attack every route, or those named, in every way, or those named."""
        for operation in self._operations:
            if only and operation.name not in only:
                continue
            route = ROUTES.get(operation.name)
            if route is None:
                detail = "the OpenAPI document has a route that this check does not attack"
                report.findings.append(Finding(UNKNOWN_ROUTE, operation.name, "", detail))
                continue
            report.note(operation.name, "the victim's own request", 0)
            if self._is_offered(operation, route, report):
                self._attack(operation, route, report, kinds)

    def _is_offered(self, operation: Operation, route: Route, report: Report) -> bool:
        """A read that the victim itself cannot make proves nothing when the attacker cannot make it either."""
        missing = [kind for kind in (*route.path.values(), *route.query.values()) if kind not in self.victim.values]
        answer = None if missing else self._own(operation, route)
        if missing or (answer is not None and answer.code in NOT_OFFERED):
            report.not_offered.add(operation.name)
            return False
        if answer is not None and answer.status >= 400:
            detail = f"the owner gets {answer.status} {answer.code} for its own"
            report.findings.append(Finding(UNPROVEN, operation.name, "the victim's own request", detail))
        return True

    def _own(self, operation: Operation, route: Route) -> Answer | None:
        if operation.method != "GET" or route.forbidden or route.public:
            return None
        return self.victim.send(filled(operation, route, self.victim.values))

    def _attack(self, operation: Operation, route: Route, report: Report, kinds: Collection[str]) -> None:
        """Each kind of attack; after one that did something, and at the end, the victim looks at what it has."""
        waiting: list[str] = []
        if operation.method != "GET":
            self._watch.begin()
        for kind, attacks in _by_kind(self._attacks.on(operation, route)):
            if kind in kinds:
                did = [self._try(attack, operation, route, report) for attack in attacks]
                waiting.append(kind)
                if operation.method != "GET" and any(did):
                    self._compare(operation, waiting, report)
                    waiting = []
        if operation.method != "GET" and waiting:
            self._compare(operation, waiting, report)

    def _compare(self, operation: Operation, kinds: list[str], report: Report) -> None:
        if changed := self._watch.changes():
            detail = f"the other tenant sees something else than before: {', '.join(changed)}"
            report.findings.append(Finding(LEAK, operation.name, ", ".join(kinds), detail))

    def _try(self, attack: Attack, operation: Operation, route: Route, report: Report) -> bool:
        """Whether it was answered as done."""
        if attack.first is not None:
            self._prepare(attack.first)
        answer = self.attacker.send(attack.shot)
        twin = self.attacker.send(attack.twin) if attack.twin else None
        report.note(operation.name, attack.kind)
        if (detail := leaks(attack, route, answer, twin, self.victim)) is not None:
            asked = f"{attack.shot.method} {_asked(attack.shot)}"
            report.findings.append(Finding(LEAK, operation.name, attack.kind, detail, asked))
        return answer.status < 400

    def _prepare(self, first: Shot) -> None:
        made = self.victim.send(first)
        if isinstance(made.document, dict) and isinstance(made.document.get("id"), str):
            self.victim.mark("the id of what was made", made.document["id"])
        self._watch.changes()


def furnished(attacker: Party, victim: Party, patience: float = furnishing.PATIENCE_SECONDS) -> None:
    """Give both what they need, with one name in common; each run is waited for, for so many seconds."""
    shared = f"isolation-{token_hex(6)}"
    for party in (attacker, victim):
        furnishing.furnish(party, shared, patience)


def _by_kind(attacks: Iterator[Attack]) -> Iterator[tuple[str, list[Attack]]]:
    kinds: dict[str, list[Attack]] = {}
    for attack in attacks:
        kinds.setdefault(attack.kind, []).append(attack)
    yield from kinds.items()


def _asked(shot: Shot) -> str:
    return shot.path + ("?" + "&".join(f"{name}={value}" for name, value in shot.params) if shot.params else "")
