"""Names of runs and of calls in flight."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from libs.domain.ids import ids_of_workflow


class RunKey(NamedTuple):
    """Which run, with its tenant: nothing is read without one."""

    tenant_id: UUID
    run_id: UUID

    @classmethod
    def of_workflow(cls, id_: str) -> RunKey:
        """The run whose workflow has this id."""
        return cls(*ids_of_workflow(id_))


def model_call(run: RunKey, turn: int, attempt: int) -> str:
    return f"{run.run_id}/m{turn}.{attempt}"


def tool_call(run: RunKey, turn: int, index: int, attempt: int) -> str:
    return f"{run.run_id}/t{turn}.{index}.{attempt}"
