"""Temporal: each workflow says whose it is, a tenant's list has its own only, and histories hold nobody's content."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from temporalio.client import Client

from deploy.embedded.isolation.trying import Tried, Victim

LAYER = "Temporal"
LISTED, IDS, CONTENT = "the list of a tenant", "workflow ids", "content in histories"


async def attacks(environment: Mapping[str, str], attacker: str, victim: Victim) -> AsyncIterator[Tried]:
    client = await Client.connect(
        environment["TEMPORAL_ADDRESS"], namespace=environment.get("TEMPORAL_NAMESPACE", "default")
    )
    async for execution in client.list_workflows(f"TenantId = '{attacker}'"):
        strange = attacker not in execution.id or any(run in execution.id for run in victim.runs)
        leak = f"{execution.id} is listed as the attacker's" if strange else None
        yield Tried(LAYER, LISTED, execution.id, leak)
    own = [execution async for execution in client.list_workflows(f"TenantId = '{victim.tenant_id}'")]
    for execution in own:
        leak = None if victim.tenant_id in execution.id else f"{execution.id} does not say whose it is"
        yield Tried(LAYER, IDS, execution.id, leak)
        yield Tried(LAYER, CONTENT, execution.id, await _holds(client, execution.id, victim))


async def _holds(client: Client, workflow_id: str, victim: Victim) -> str | None:
    history: Any = await client.get_workflow_handle(workflow_id).fetch_history()
    raw = b"".join(event.SerializeToString() for event in history.events)  # as JSON, payloads would be in base64
    found = any(mark.encode() in raw for mark in victim.marks)
    return f"the history of {workflow_id} holds content" if found else None
