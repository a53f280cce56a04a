"""How a program on the same machine reaches the stack that runs: its address, and tokens without asking the issuer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.control import SUMMARY, issuer_url
from deploy.embedded.failures import NotRunning, StateRefused
from deploy.embedded.state import StateDirectory, default_state_directory, read_json
from deploy.embedded.tokens import TokenSigner


@dataclass(frozen=True)
class Connection:
    """`token_provider` gives a fresh token at each call."""

    api_url: str
    token_provider: Callable[[], str]


def connect(state_dir: Path | None, tenant: str, role: str) -> Connection:
    """Reach the stack of a state directory, by default this user's, as a role in a tenant."""
    state = StateDirectory(state_dir or default_state_directory())
    state.check_usable()
    summary = read_json(state.run / SUMMARY)
    if state.holder() is None or not summary:
        raise NotRunning(f"no stack is running on {state.path}; start one with `agent-runtime up`")
    if not summary["api_url"]:
        raise NotRunning(f"the stack on {state.path} runs servers only, without an api")
    return Connection(summary["api_url"], token_provider(state, tenant=tenant, role=role))


def token_provider(state: StateDirectory, *, tenant: str, role: str, subject: str = "local") -> Callable[[], str]:
    """What mints tokens of a state directory's issuer, also while nothing runs."""
    summary = read_json(state.run / SUMMARY)
    if summary and not summary["token_url"]:
        raise StateRefused(f"tokens of this stack come from {summary['issuer']}; put one into AGENT_RUNTIME_TOKEN")
    signer = TokenSigner(state, issuer_url(state))
    return lambda: signer.mint(role=role, tenant=None if role == "admin" else tenant, subject=subject)
