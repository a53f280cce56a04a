"""`make demo`: shows that an agent survives the death of its worker, and checks everything that it says."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

from agent_runtime import AgentRuntimeFailure
from rich.console import Console
from rich.markdown import Markdown
from rich.syntax import Syntax

from deploy.demo.browser import NotSignedIn
from deploy.demo.checks import Claim, Evidence, check
from deploy.demo.containers import Compose, ComposeFailed, container_world
from deploy.demo.screen import Screen
from deploy.demo.story import Story, StoryBroken
from deploy.demo.telling import claim_line, timeline, usage_table
from deploy.demo.world import World, world
from deploy.embedded.failures import StackFailure
from deploy.embedded.stack import Stack

FALSE_CLAIM, BROKEN, INTERRUPTED = 1, 2, 130
BREAKING = (StackFailure, ComposeFailed, NotSignedIn, StoryBroken, AgentRuntimeFailure)
_TITLES = {
    "postgres": "PostgreSQL",
    "valkey": "Valkey",
    "object-store": "SeaweedFS",
    "temporal": "Temporal",
    "local-model": "SmolLM2",
    "api": "api",
    "worker-1": "worker-1",
    "worker-2": "worker-2",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the stack's files and logs behind")
    parser.add_argument("--compose", action="store_true", help="on containers, with Keycloak's tokens")
    parser.add_argument("--file", type=Path, action="append", default=[], help="with --compose: a further compose file")
    chosen = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    began = time.monotonic()
    try:
        with Screen(console) as screen:
            claims = _perform(screen, chosen)
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything that was started has been stopped.")
        return INTERRUPTED
    except (*BREAKING, ExceptionGroup, TimeoutError) as failure:
        console.print(f"\n[bold red]The demo broke off:[/] {_said(failure)}", markup=True)
        for note in getattr(failure, "__notes__", []):
            console.print(f"[dim]{note}[/]", soft_wrap=True)
        return BROKEN
    false = [claim for claim in claims if not claim.holds]
    console.print(
        f"\n[bold red]{len(false)} of {len(claims)} claims are false.[/]"
        if false
        else f"\n[bold green]All {len(claims)} claims hold.[/]"
        f" [dim]{time.monotonic() - began:.1f} s. Keep a stack of your own: .venv/bin/agent-runtime up[/]"
    )
    return FALSE_CLAIM if false else 0


def _perform(screen: Screen, chosen: argparse.Namespace) -> list[Claim]:
    screen.title(f"Agent Runtime: one whole run, on real servers{' in containers' if chosen.compose else ''}")
    try:
        with _stage(screen, chosen) as made:
            services = ", ".join(_TITLES.get(name, name) for name in made.services)
            screen.line(f"up: {services}; API at {made.api_url}")
            evidence = asyncio.run(Story(made, screen).tell())
            claims = check(evidence)
            screen.doing("stopping the stack")
            _conclude(screen, evidence, claims)
            if chosen.keep:
                screen.line(f"kept: {made.kept}")
    finally:
        # Whoever presses Ctrl-C twice still wants everything stopped.
        screen.rest()
    return claims


def _stage(screen: Screen, chosen: argparse.Namespace) -> AbstractContextManager[World]:
    if chosen.compose:
        screen.doing("building the images")
        return container_world(lambda compose: screen.doing(_Healths(compose)), chosen.file, keep=chosen.keep)
    return world(lambda stack: screen.doing(lambda: _starting(stack)), keep=chosen.keep)


class _Healths:
    """How far the containers are, asked once a second at the most."""

    def __init__(self, compose: Compose) -> None:
        self._compose, self._said, self._until = compose, "starting", 0.0

    def __call__(self) -> str:
        if time.monotonic() >= self._until:
            with contextlib.suppress(ComposeFailed):
                states = self._compose.states()
                waiting = [name for name, state in states.items() if state not in ("healthy", "exited")]
                self._said = f"starting {len(states)} containers; not yet ready: {', '.join(waiting) or 'none'}"
            self._until = time.monotonic() + 1
        return self._said


def _starting(stack: Stack) -> str:
    try:
        running = [name for name, service in stack.services().items() if service["status"] == "running"]
    except AttributeError:
        running = []
    marks = [f"{title} {'✓' if name in running else '…'}" for name, title in _TITLES.items()]
    return f"starting  {'  '.join(marks)}"


def _conclude(screen: Screen, evidence: Evidence, claims: list[Claim]) -> None:
    screen.title("The answer")
    screen.show(
        Syntax(json.dumps(evidence.run["output"], indent=2, ensure_ascii=False), "json", background_color="default")
    )
    screen.title("The timeline")
    screen.show(timeline(evidence.log))
    screen.title("Tokens and cost")
    runs = [("stock-keeper", evidence.run["usage"])]
    screen.show(usage_table(runs + [("explainer", explained.run["usage"]) for explained in evidence.explanations]))
    for artifact in evidence.artifacts:
        screen.title(f"The file {artifact['name']} ({artifact['size']} bytes, SHA-256 {artifact['sha256'][:16]}…)")
        screen.show(Markdown(evidence.contents[artifact["id"]].decode("utf-8", "replace")))
    screen.title("What was claimed, and checked")
    for claim in claims:
        screen.show(claim_line(claim))


def _said(failure: BaseException) -> str:
    if isinstance(failure, BaseExceptionGroup):
        return "; ".join(_said(inner) for inner in failure.exceptions)
    return str(failure) or type(failure).__name__


if __name__ == "__main__":
    sys.exit(main())
