"""The calls about tenants, for administrators of the platform."""

from __future__ import annotations

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, walk
from agent_runtime.messages import get, post, present, send
from agent_runtime.models import Tenant
from agent_runtime.steps import Flow, Plan


def create_tenant(
    slug: str,
    *,
    name: str | None = None,
    plan: str | None = None,
    id: str | None = None,
    operator: str | None = None,
    idempotency_key: str | None = None,
) -> Plan[Tenant]:
    """Create a tenant; `plan` is a plan's slug, `id` a UUID to use, else a fresh one.

    `operator` is the e-mail address of its first operator, who is made at the issuer too; the result's `operator` holds
    a temporary password. Repeated after a failure, it goes on where it stood; until the operator has signed in, the
    same call gives the same result. Raises `Conflict`, `Forbidden`, `InvalidRequest`, `DependencyUnavailable`.
    """
    body = present(slug=slug, name=name, plan=plan, id=id, operator={"email": operator} if operator else None)
    return ask(post("tenants", body=body, key=idempotency_key), Tenant.received)


def get_tenant(tenant: str) -> Plan[Tenant]:
    """One tenant, by id or slug; an operator may read its own. Raises `NotFound`, `Forbidden`."""
    return ask(get("tenants", tenant), Tenant.received)


def list_tenants(*, page_size: int = 50) -> Flow[Tenant]:
    """Every tenant; pages of `page_size` (1 to 200) are fetched as needed. Raises `Forbidden`."""
    return walk(get("tenants", params=[("limit", page_size)]), Tenant)


def update_tenant(
    tenant: str, *, name: str | None = None, status: str | None = None, plan: str | None = None
) -> Plan[Tenant]:
    """Rename a tenant, set its status to `active` or `suspended`, or give it another plan.

    A suspended tenant's runs pause, and go on where they were when it is active again. Raises `NotFound`, `Forbidden`,
    `InvalidRequest` (no such plan).
    """
    return ask(send("PATCH", "tenants", tenant, body=present(name=name, status=status, plan=plan)), Tenant.received)


def delete_tenant(tenant: str) -> Plan[Tenant]:
    """Delete a tenant: everything of it is refused at once and erased afterwards, without a way back.

    Raises `NotFound`, `Forbidden`.
    """
    return ask(send("DELETE", "tenants", tenant), Tenant.received)


def keep_for(tenant: str, days: int | None) -> Plan[Tenant]:
    """How many days a tenant's runs are kept after their end, and uploads after their arrival; None keeps them.

    What is older is erased within the hour. Raises `NotFound`, `Forbidden`, `InvalidRequest`.
    """
    return ask(send("PATCH", "tenants", tenant, body={"retention_days": days}), Tenant.received)


class Tenants(Noun):
    """`client.tenants`"""

    create = Call(create_tenant)
    get = Call(get_tenant)
    list = Items(list_tenants)
    update = Call(update_tenant)
    delete = Call(delete_tenant)
    keep_for = Call(keep_for)


class AsyncTenants(AsyncNoun):
    """`client.tenants`"""

    create = AsyncCall(create_tenant)
    get = AsyncCall(get_tenant)
    list = AsyncItems(list_tenants)
    update = AsyncCall(update_tenant)
    delete = AsyncCall(delete_tenant)
    keep_for = AsyncCall(keep_for)
