"""Every route of the API: the caller is known and allowed before a byte of the body is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from libs.domain.errors import Forbidden, Unauthenticated
from libs.observability.context import bind
from services.api.authentication import Identity
from services.api.bodies import JsonRequest
from services.api.callers import Caller, admit
from services.api.denials import Denial
from services.api.rates import refused
from services.api.roles import ROLES
from services.api.services import Services

LONGEST_TARGET = 256


class RouteWithoutRoles(LookupError):
    """A route is missing in the table of who may do what."""


class GuardedRoute(APIRoute):
    """A FastAPI route that asks `ROLES` who may use it, and reads JSON strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        allowed = ROLES.get(self.name)
        if allowed is None:
            raise RouteWithoutRoles(f"{self.name} is not named in services/api/roles.py")
        field = self.body_field
        required = field is not None and field.field_info.is_required()

        async def read_and_handle(request: Request) -> Response:
            if field is None:
                return await handle(request)
            with_json = JsonRequest(request.scope, request.receive)
            await with_json.load(required=required)
            return await handle(with_json)

        async def guarded(request: Request) -> Response:
            if not allowed:
                return await read_and_handle(request)
            services: Services = request.scope["state"]["services"]
            source = services.sources.of(request.scope)
            identity = await self._identify(services, request, source)
            try:
                caller = (await admit(identity, allowed, services.tenancy))._replace(source=source)
                bind(tenant_id=str(caller.tenant_id), run_id=request.path_params.get("run_id"))
                request.scope["caller"] = caller
                await _count(services, request, caller)
                return await read_and_handle(request)
            except Forbidden as refusal:
                await self._note(services, request, identity, source, refusal)
                raise

        return guarded

    async def _identify(self, services: Services, request: Request, source: str) -> Identity:
        try:
            return await services.verifier.identify(request.scope["headers"])
        except Unauthenticated:
            services.denials.unauthenticated(source)
            raise

    async def _note(
        self, services: Services, request: Request, identity: Identity, source: str, refusal: Forbidden
    ) -> None:
        caller: Caller | None = request.scope.get("caller")
        tenant_id = caller.tenant_id if caller else await services.denials.tenant_of(identity.tenant)
        denial = Denial(tenant_id, identity.subject, source, self.name, refusal.code)
        await services.denials.forbidden(denial, str(request.scope["path"])[:LONGEST_TARGET])


async def _count(services: Services, request: Request, caller: Caller) -> None:
    """Count the request for its tenant. Raises `RateLimited`; how the request stands is told with every answer."""
    plan = services.tenancy.plan(caller.tenant_id)
    if plan is None or plan.requests_per_second is None:
        return
    allowance, allowed = await services.rates.take(caller.tenant_id, plan.requests_per_second)
    request.scope["allowance"] = allowance
    if not allowed:
        raise refused(allowance)
