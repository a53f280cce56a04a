"""The calls about plans, which say what a tenant may use."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, walk
from agent_runtime.messages import get, present, send
from agent_runtime.models import TenantPlan
from agent_runtime.steps import Flow, Plan


def get_plan(plan: str) -> Plan[TenantPlan]:
    """One plan, by slug; an operator may read its own tenant's. Raises `NotFound`, `Forbidden`."""
    return ask(get("plans", plan), TenantPlan.received)


def list_plans(*, page_size: int = 50) -> Flow[TenantPlan]:
    """Every plan, by slug; pages of `page_size` (1 to 200) are fetched as needed. Raises `Forbidden`."""
    return walk(get("plans", params=[("limit", page_size)]), TenantPlan)


def put_plan(
    plan: str,
    *,
    requests_per_second: int | None = None,
    running_runs: int | None = None,
    queued_runs: int | None = None,
    artifact_bytes: int | None = None,
    allowed_models: Sequence[str] | None = None,
    agents: int | None = None,
    agent_versions: int | None = None,
    secrets: int | None = None,
    service_accounts: int | None = None,
    users: int | None = None,
) -> Plan[TenantPlan]:
    """Write a plan as a whole: a limit that is not given does not exist. In effect within a second.

    `allowed_models` are `provider/model`, or `provider/*` for all of a provider; `agent_versions` are those of each
    agent. Raises `Forbidden`, `InvalidRequest`.
    """
    body = present(
        requests_per_second=requests_per_second,
        running_runs=running_runs,
        queued_runs=queued_runs,
        artifact_bytes=artifact_bytes,
        allowed_models=None if allowed_models is None else list(allowed_models),
        agents=agents,
        agent_versions=agent_versions,
        secrets=secrets,
        service_accounts=service_accounts,
        users=users,
    )
    return ask(send("PUT", "plans", plan, body=body), TenantPlan.received)


class Plans(Noun):
    """`client.plans`"""

    get = Call(get_plan)
    list = Items(list_plans)
    put = Call(put_plan)


class AsyncPlans(AsyncNoun):
    """`client.plans`"""

    get = AsyncCall(get_plan)
    list = AsyncItems(list_plans)
    put = AsyncCall(put_plan)
