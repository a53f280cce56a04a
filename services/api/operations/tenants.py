"""What an administrator of the platform does with tenants."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import admission, audit, erasures, tenants
from libs.database.engine import PLATFORM, Database
from libs.database.tenants import NoSuchPlan, TenantRow
from libs.domain.errors import Conflict, DomainProblem, Flaw, Forbidden, InvalidRequest, NotFound
from libs.domain.plans import DEFAULT
from services.api.answers import Answer
from services.api.callers import Caller
from services.api.dependencies import Call
from services.api.operations.admission import admit_next, park_all
from services.api.operations.idempotency import answer_once
from services.api.roles import PLATFORM as ADMINISTRATORS
from services.api.schemas.tenants import TenantCreate, TenantUpdate, tenant_json
from services.api.tenancy import parse_tenant


async def create_tenant(call: Call, wanted: TenantCreate) -> Answer:
    """The row is written behind the new tenant's own wall."""
    check_names(wanted)

    async def work(connection: AsyncConnection) -> Answer:
        row = await add_tenant(connection, call, wanted)
        if row is None:
            raise Conflict(f"A tenant with the slug {wanted.slug} or with this id exists already.")
        await tenants.enter(connection, call.tenant_id)
        return Answer(201, tenant_json(row), f"/v1/tenants/{row.id}")

    return await answer_once(call.services.database, call.caller, call.key, work)


def check_names(wanted: TenantCreate) -> None:
    """Raises `InvalidRequest` for an id or a slug that would be taken for another's."""
    if wanted.id == PLATFORM:
        raise InvalidRequest("The nil UUID is not a tenant's id.")
    if isinstance(parse_tenant(wanted.slug), UUID):
        raise InvalidRequest("A slug must not look like an id.", (Flaw("/slug", "looks like an id"),))


async def add_tenant(connection: AsyncConnection, call: Call, wanted: TenantCreate) -> TenantRow | None:
    """Add the row and stay behind the new tenant's wall; None when its slug or id is taken.

    Raises:
        Conflict: a tenant of that name or id was deleted; tokens that name it may outlive it at its issuer.
    """
    if await erasures.was_tenant(connection, wanted.slug, wanted.id):
        raise Conflict(f"A tenant with the slug {wanted.slug} or this id was deleted; neither is used again.")
    tenant_id = wanted.id or await tenants.new_id(connection)
    await tenants.enter(connection, tenant_id)
    try:
        row = await tenants.add(connection, tenant_id, wanted.slug, wanted.name or wanted.slug, wanted.plan or DEFAULT)
    except NoSuchPlan:
        raise _no_plan(wanted.plan) from None
    if row is not None:
        await _note(connection, call, "create_tenant", row, None)
    return row


async def list_tenants(database: Database, before: UUID | None, limit: int) -> list[TenantRow]:
    async with database.maintenance() as connection:
        return await tenants.page(connection, before, limit)


async def get_tenant(database: Database, caller: Caller, name: str) -> TenantRow:
    """Any tenant for an administrator, its own for an operator."""
    if caller.roles & ADMINISTRATORS:
        return await find_tenant(database, name)
    row = await find_tenant(database, str(caller.tenant_id))
    if parse_tenant(name) not in (row.id, row.slug):  # whether there is another one of this name is not told
        raise Forbidden("You may see your own tenant only.")
    return row


async def update_tenant(call: Call, name: str, wanted: TenantUpdate) -> TenantRow:
    """Rename, change the plan, suspend or let work again; live runs of the tenant are made to look."""
    database = call.services.database
    found = await find_tenant(database, name)
    async with database.tenant(found.id) as connection:
        if wanted.status == "active":  # what still works keeps its place; rows of runs are locked before the tenant's
            await admission.enter(connection, found.id)
            await admission.admit_working(connection, found.id)
        before = await tenants.lock(connection, found.id)
        try:
            row = await tenants.update(connection, found.id, wanted.name, wanted.status, wanted.plan)
            if row and "retention_days" in wanted.model_fields_set:
                row = await tenants.keep_for(connection, found.id, wanted.retention_days)
        except NoSuchPlan:
            raise _no_plan(wanted.plan) from None
        if before is None:
            raise NotFound(f"There is no tenant {found.slug}.")
        if row is None:
            raise Conflict(f"The tenant {found.slug} is being deleted; nothing of it can be changed.")
        if row != before:
            await _note(connection, call, "update_tenant", row, before)
    call.services.tenancy.forget()
    if row.status == "suspended":
        await park_all(call.services, row.id)
    else:
        await admit_next(call.services, row.id)
    return row


async def delete_tenant(call: Call, name: str) -> tuple[TenantRow, UUID]:
    """Refuse everything of the tenant from now on; what it has is erased behind the answer, by this erasure."""
    database = call.services.database
    found = await find_tenant(database, name)
    async with database.tenant(found.id) as connection:
        before = await tenants.lock(connection, found.id)
        row = await tenants.mark_deleting(connection, found.id)
        if row is None or before is None:
            raise NotFound(f"There is no tenant {found.slug}.")
        by, source = call.caller.subject, call.caller.source
        erasure, new = await erasures.add(connection, "tenant", by=by, source=source, slug=row.slug)
        if new:
            await _note(connection, call, "delete_tenant", row, before)
    call.services.tenancy.forget()
    await park_all(call.services, row.id)
    return row, erasure.id


async def _note(connection: AsyncConnection, call: Call, action: str, row: TenantRow, before: TenantRow | None) -> None:
    """Behind the tenant's own wall, where its operators see what was done to it."""
    await audit.append(
        connection,
        actor=call.caller.subject,
        source=call.caller.source,
        action=action,
        target=f"tenant/{row.slug}",
        before=_facts(before) if before else None,
        after=_facts(row),
    )


def _facts(row: TenantRow) -> dict[str, object]:
    return {name: value for name, value in row._asdict().items() if name != "created_at"}


def _no_plan(slug: str | None) -> InvalidRequest:
    return InvalidRequest(f"There is no plan {slug}. Make it first.", (Flaw("/plan", "there is no such plan"),))


async def find_tenant(database: Database, name: str, missing: DomainProblem | None = None) -> TenantRow:
    wanted = parse_tenant(name)
    row = None
    if wanted is not None:
        async with database.maintenance() as connection:
            row = await tenants.find(connection, wanted)
    if row is None:
        raise missing or NotFound("There is no tenant with this id or slug.")
    return row
