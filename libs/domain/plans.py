"""What a tenant may use: a plan's limits, each None where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

DEFAULT = "default"
MODEL_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}/(\*|[^\s\x00-\x1f*]{1,200})$"


class Plan(NamedTuple):
    """`allowed_models` are names `provider/model`, or `provider/*` for all of one; versions are of each agent."""

    slug: str
    requests_per_second: int | None
    running_runs: int | None
    queued_runs: int | None
    artifact_bytes: int | None
    allowed_models: Sequence[str] | None
    agents: int | None = None
    agent_versions: int | None = None
    secrets: int | None = None
    service_accounts: int | None = None
    users: int | None = None


def allows(patterns: Sequence[str] | None, model: str) -> bool:
    """Whether a model `provider/name` is among those of a plan."""
    if patterns is None:
        return True
    return model in patterns or f"{model.partition('/')[0]}/*" in patterns
