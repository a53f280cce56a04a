"""What somebody can do about a run now: the commands that the caller may use, and advice where none of them helps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from libs.domain.explanation.facts import Facts, Situation

ENDED = frozenset({"completed", "failed", "cancelled"})


class Action(NamedTuple):
    """`operation` is the API's name of what the command does; advice without a command is for somebody else."""

    text: str
    command: str | None = None
    operation: str | None = None


def actions(found: Situation, facts: Facts) -> list[Action]:
    """The most helpful first; commands of operations that the caller may not use are left out."""
    return [each for each in _all(found, facts) if each.operation is None or each.operation in facts.allowed]


def _all(found: Situation, facts: Facts) -> Iterator[Action]:
    id_ = facts.run.id
    if found.code in ENDED:
        yield from _after_the_end(found, facts)
        return
    yield from _special(found, facts)
    if found.code in ("paused", "pausing"):
        yield Action("Resume it.", f"agent-runtime runs resume {id_}", "resume_run")
    yield Action("Watch what happens.", f"agent-runtime runs events {id_} --follow", "list_run_events")
    if facts.run.desired == "run":
        yield Action("Pause it; what it has done so far is kept.", f"agent-runtime runs pause {id_}", "pause_run")
    if facts.run.desired != "cancelled":
        yield Action("Cancel it for good.", f"agent-runtime runs cancel {id_}", "cancel_run")


def _special(found: Situation, facts: Facts) -> Iterator[Action]:
    if found.code == "waiting_for_place":
        running = "agent-runtime runs list --status running"
        yield Action("See which runs hold the places; ending or pausing one lets the next in.", running, "list_runs")
        yield Action("Ask the administrator of the platform for a plan with more runs at once (running_runs).")
    if found.code == "no_worker" or found.details.get("no_worker"):
        yield Action("Ask whoever runs the platform to start a worker; the run needs nothing else.")
    if found.code == "tenant_suspended":
        yield Action("Ask the administrator of the platform why the tenant is suspended.")
    if found.code == "provider_limit":
        yield Action("Wait: nothing has to be done. A larger quota, or a key of your own (provider_key), avoids this.")
    if found.code in ("starting", "between_steps"):
        yield Action("If this lasts, ask whoever runs the platform to look at Temporal and at the load of the workers.")


def _after_the_end(found: Situation, facts: Facts) -> Iterator[Action]:
    run = facts.run
    if found.code == "completed":
        yield Action("Read its output.", f"agent-runtime runs show {run.id}", "get_run")
    else:
        yield Action("Read what happened last.", f"agent-runtime runs events {run.id}", "list_run_events")
    advice = _ADVICE.get(run.error_code or "") if found.code == "failed" else None
    if advice is not None:
        yield Action(advice)
    if found.code != "completed":
        again = f"agent-runtime runs start {run.agent} --input …"
        yield Action("Start another run: a run that ended is not taken up again.", again, "create_run")


_ADVICE = {
    "budget_exceeded": (
        "Give the next run more: --limit-steps, --limit-tokens or --limit-cost where the run was limited, "
        "a version with larger limits where the version was."
    ),
    "deadline_exceeded": "Give the next run more time: --limit-seconds, or a version with larger limits.seconds.",
    "model_error": "See what the provider said; if the request was refused, correct the agent's model or parameters.",
    "tool_error": "See what the tool answered; correct its declaration in the agent's spec, or the service behind it.",
    "invalid_output": "Make output_schema easier to meet, say the form in the instructions, or take a stronger model.",
    "worker_lost": "Tell whoever runs the platform: every worker that took this step died, which the run may cause.",
    "workflow_lost": "Tell whoever runs the platform: Temporal lost this run again and again.",
    "internal": "Tell whoever runs the platform: this is a mistake of the platform, and its log has the details.",
}
