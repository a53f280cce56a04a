"""What a tenant's plan allows, where it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from libs.domain.errors import ModelNotAllowed
from libs.domain.plans import allows
from services.api.services import Services


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
