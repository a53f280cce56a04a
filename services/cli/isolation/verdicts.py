"""Whether an answer, or what became of the victim's things, is a leak."""

from __future__ import annotations

import json
from typing import Any

from services.cli.isolation.attacks import Attack, Operation, filled
from services.cli.isolation.parties import Answer, Party
from services.cli.isolation.routes import ROUTES, Route

# Of a run, what changes as it goes on; what anybody asks of it does not.
GOES_ON = frozenset(
    {"status", "waiting_for", "started_at", "finished_at", "usage", "steps", "last_seq", "output", "error"}
)
NOT_OFFERED = ("secrets_not_configured", "provisioning_not_configured")


def leaks(attack: Attack, route: Route, answer: Answer, twin: Answer | None, victim: Party) -> str | None:
    """What is wrong with an answer, in words; None when nothing is."""
    said = attack.shot.said
    for mark, what in victim.marks.items():
        if mark in answer.text and mark not in said:
            return f"the answer holds {what} of the other tenant"
    if answer.code in NOT_OFFERED:
        return None
    if answer.status >= 500:
        return f"the answer is {answer.status}: nobody knows what was done"
    if answer.status < 400 and attack.theirs:
        return f"the answer is {answer.status}, as if the other tenant's were the attacker's own"
    if answer.status < 400 and route.forbidden:
        return f"the answer is {answer.status} to what no operator may do"
    if attack.first is not None and "idempotency-replayed" in answer.headers:
        return "the other tenant's answer was given again for its idempotency key"
    if twin is not None and (answer.status, answer.code) != (twin.status, twin.code):
        return (
            f"the answer ({answer.status} {answer.code}) is not the one for what nobody has "
            f"({twin.status} {twin.code}): it tells what the other tenant has"
        )
    return None


class Watch:
    """The victim's things as the victim sees them, to notice what an attack has changed."""

    def __init__(self, victim: Party, found: list[Operation]) -> None:
        self._victim = victim
        self._reads = [operation for operation in found if operation.method == "GET" and _steady(operation)]
        self._seen: dict[str, str] = {}

    def begin(self) -> None:
        """Know how things are; the first time only."""
        self._seen = self._seen or self._look()

    def changes(self) -> list[str]:
        """The reads that are answered otherwise than the last time."""
        before, self._seen = self._seen, self._look()
        return [name for name, seen in self._seen.items() if seen != before.get(name)]

    def _look(self) -> dict[str, str]:
        """What each route that reads answers; without what changes by itself."""
        seen = {}
        for operation in self._reads:
            route = ROUTES[operation.name]
            if all(kind in self._victim.values for kind in (*route.path.values(), *route.query.values())):
                answer = self._victim.send(filled(operation, route, self._victim.values))
                told = answer.text.partition("\n\n")[2] if answer.document is None else _still(answer.document)
                seen[operation.name] = f"{answer.status} {json.dumps(told)}"
        return seen


def _steady(operation: Operation) -> bool:
    route = ROUTES.get(operation.name)
    return route is not None and not (route.public or route.forbidden or route.volatile)


def _still(value: Any) -> Any:
    if isinstance(value, list):
        return [_still(item) for item in value]
    if isinstance(value, dict):
        goes_on = GOES_ON if "desired" in value else frozenset[str]()
        return {name: _still(item) for name, item in value.items() if name not in goes_on}
    return value
