"""What an administrator of the platform does with plans."""

from __future__ import annotations

from libs.database import audit, plans, tenants
from libs.database.engine import Database
from libs.database.plans import PlanRow
from libs.domain.errors import Forbidden, NotFound
from libs.domain.plans import Plan
from services.api.callers import Caller
from services.api.dependencies import Call
from services.api.roles import PLATFORM


async def list_plans(database: Database, after: str | None, limit: int) -> list[PlanRow]:
    async with database.maintenance() as connection:
        return await plans.page(connection, after, limit)


async def get_plan(database: Database, caller: Caller, slug: str) -> PlanRow:
    """Any plan for an administrator, its own tenant's for an operator."""
    async with database.maintenance() as connection:
        if not caller.roles & PLATFORM:
            tenant = await tenants.find(connection, caller.tenant_id)
            if tenant is None or tenant.plan != slug:
                raise Forbidden("You may see the plan of your own tenant only.")
        row = await plans.find(connection, slug)
    if row is None:
        raise NotFound(f"There is no plan {slug}.")
    return row


async def put_plan(call: Call, plan: Plan) -> tuple[PlanRow, bool]:
    """Write a plan as a whole, and whether it is new; in effect within a second."""
    async with call.services.database.tenant(call.tenant_id) as connection:
        before = await plans.find(connection, plan.slug)
        row, new = await plans.put(connection, plan)
        await audit.append(
            connection,
            actor=call.caller.subject,
            source=call.caller.source,
            action="put_plan",
            target=f"plan/{plan.slug}",
            before=before.plan._asdict() if before else None,
            after=plan._asdict(),
        )
    call.services.tenancy.forget()
    return row, new
