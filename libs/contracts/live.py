"""Messages on Redis: wake-ups and token deltas, none of which anything depends on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

CONTROL_CHANNEL = "agent-runtime:control"  # payload "<tenant>/<run>": workers read what is asked of the run
DELTA_SECONDS = 600  # how long deltas are kept
DELTA_LENGTH = 4096  # at most so many per run


def wake_channel(tenant_id: UUID, run_id: UUID) -> str:
    """Published to after each commit of the run (payload: "e" + last seq) and for each delta ("d" + JSON)."""
    return f"t:{tenant_id}:run:{run_id}:wake"


def delta_stream(tenant_id: UUID, run_id: UUID) -> str:
    """Redis stream of the run's latest deltas; field "d" holds the JSON of one `Delta`."""
    return f"t:{tenant_id}:run:{run_id}:deltas"


@dataclass(frozen=True)
class Delta:
    """A piece of an answer in progress.

    Meaningless once its turn is committed or a later attempt began; `base_seq` is the last event it builds on, `index`
    counts the pieces of an attempt from 0.
    """

    turn: int
    attempt: int
    base_seq: int
    index: int
    text: str
