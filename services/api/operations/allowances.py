"""What a tenant's plan allows, where it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import holdings
from libs.database.holdings import Holding
from libs.domain.errors import ModelNotAllowed, QuotaExceeded
from libs.domain.plans import allows
from services.api.dependencies import Call
from services.api.services import Services

_FREED_BY: dict[Holding, tuple[str, str]] = {
    "agents": ("agents", "Archived ones count too. Make a new version of one that there is"),
    "secrets": ("secrets", "Delete those that no version names any longer"),
    "service_accounts": ("service accounts", "Delete those that nobody uses any longer"),
    "users": ("users", "Those who were invited and never came count too. Remove those who no longer come"),
}


def require_model(patterns: Sequence[str] | None, model: str) -> None:
    """Raises `ModelNotAllowed` unless a pattern of the plan fits."""
    if not allows(patterns, model):
        allowed = ", ".join(patterns or ()) or "no model"
        raise ModelNotAllowed(
            f"The plan of your tenant does not allow the model {model}. It allows: {allowed}. "
            "Choose one of them, or ask the administrator of the platform."
        )


def require_allowed(services: Services, tenant_id: UUID, model: str) -> None:
    """The same by the plan as it was read with the request's tenant."""
    plan = services.tenancy.plan(tenant_id)
    require_model(plan.allowed_models if plan else None, model)


async def require_room(connection: AsyncConnection, call: Call, holding: Holding) -> None:
    """Raises `QuotaExceeded` when the tenant has more than its plan allows, with what the transaction has added."""
    plan = call.services.tenancy.plan(call.tenant_id)
    most: int | None = getattr(plan, holding, None)
    if most is not None and await holdings.exceed(connection, call.tenant_id, holding, most):
        name, way_out = _FREED_BY[holding]
        raise _exceeded(f"{most:,} {name}", way_out)


def require_version(call: Call, number: int) -> None:
    """Raises `QuotaExceeded` when an agent has more versions than the plan allows, with the one of this number."""
    plan = call.services.tenancy.plan(call.tenant_id)
    if plan is not None and plan.agent_versions is not None and number > plan.agent_versions:
        raise _exceeded(f"{plan.agent_versions:,} versions of an agent", "Go on with another agent")


def _exceeded(allowed: str, way_out: str) -> QuotaExceeded:
    return QuotaExceeded(
        f"Your tenant's plan allows {allowed}, and with this one there would be more. "
        f"{way_out}, or ask the administrator of the platform for another plan."
    )
