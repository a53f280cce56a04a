"""A tenant and its first operator, made here and at the issuer together; repeated after a failure, it goes on."""

from __future__ import annotations

import json

from libs.database.tenants import TenantRow
from libs.domain.errors import Conflict
from services.api.answers import Answer
from services.api.dependencies import Call
from services.api.operations import invitations
from services.api.operations.idempotency import answer_once_outside
from services.api.operations.invitations import Invitee
from services.api.operations.tenants import add_tenant, check_names, find_tenant
from services.api.operations.users import invited_fields, provisioner
from services.api.schemas.shared import to_json
from services.api.schemas.tenants import TenantCreate, tenant_json
from services.api.schemas.users import OperatorInvite


async def found_tenant(call: Call, wanted: TenantCreate, operator: OperatorInvite) -> Answer:
    """The row comes first, with the operator that is wanted; what the issuer has to do comes after its commit."""
    check_names(wanted)
    keycloak, invitee = provisioner(call.services), Invitee.of(operator)

    async def work() -> Answer:
        row = await _record(call, wanted, invitee) or await _known(call, wanted, invitee)
        invited = await invitations.invite(call, keycloak, row.id, (str(row.id), row.slug), invitee)
        body = json.loads(tenant_json(row)) | {"operator": invited_fields(invited)}
        return Answer(201, to_json(body), f"/v1/tenants/{row.id}")

    return await answer_once_outside(call.services.database, call.caller, call.key, work, _without_password)


async def _record(call: Call, wanted: TenantCreate, invitee: Invitee) -> TenantRow | None:
    """Tenant and wish in one transaction; None when the tenant is there already."""
    async with call.services.database.tenant(call.tenant_id) as connection:
        row = await add_tenant(connection, call, wanted)
        if row is not None:
            await invitations.want(connection, row.id, invitee, call.caller.subject, first_operator=True)
        return row


async def _known(call: Call, wanted: TenantCreate, invitee: Invitee) -> TenantRow:
    """The tenant that an earlier try has made with the same first operator."""
    taken = Conflict(f"A tenant with the slug {wanted.slug} or with this id exists already.")
    row = await find_tenant(call.services.database, wanted.slug, taken)
    if wanted.id not in (None, row.id) or row.status != "active":
        raise taken
    async with call.services.database.tenant(row.id) as connection:
        if not await invitations.wanted_as_first_operator(connection, invitee.username):
            raise taken
    return row


def _without_password(body: str) -> str:
    answer = json.loads(body)
    return to_json(answer | {"operator": answer["operator"] | {"temporary_password": None}})
