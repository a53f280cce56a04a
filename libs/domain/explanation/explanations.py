"""The explanation of a run: a pure function of its facts."""

from __future__ import annotations

from dataclasses import dataclass

from libs.domain.explanation import history
from libs.domain.explanation.actions import Action, actions
from libs.domain.explanation.facts import Facts, Situation
from libs.domain.explanation.situations import situation
from libs.domain.explanation.words import describe


@dataclass(frozen=True)
class Explanation:
    """What a run is doing, in words; `text` is all of it, a paragraph a line."""

    situation: Situation
    now: str
    retries: str
    text: str
    actions: list[Action]


def explain(facts: Facts) -> Explanation:
    """Why the run stands where it stands, what happened to it, and what somebody can do."""
    found = situation(facts)
    now, retries = describe(found, facts), history.retries(facts)
    lines = [now, retries, history.work(facts), history.time(facts), history.bill(facts)]
    return Explanation(found, now, retries, "\n".join(line for line in lines if line), actions(found, facts))
