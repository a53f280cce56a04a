"""Names derived from ids, the same everywhere."""

from __future__ import annotations

from uuid import UUID


def workflow_id(tenant_id: UUID, run_id: UUID) -> str:
    """The Temporal workflow of a run."""
    return f"run/{tenant_id}/{run_id}"


def ids_of_workflow(id_: str) -> tuple[UUID, UUID]:
    """Tenant and run of a workflow; raises ValueError for one that is no run's."""
    kind, tenant_id, run_id = id_.split("/")
    if kind != "run":
        raise ValueError(f"{id_} is not the workflow of a run")
    return UUID(tenant_id), UUID(run_id)


def effect_id(run_id: UUID, turn: int, index: int) -> str:
    """Names one tool call over all its attempts. Never the provider's own id, which may repeat."""
    return f"{run_id.hex}-{turn}-{index}"
