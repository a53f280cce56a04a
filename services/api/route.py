"""Every route of the API: the caller is known and allowed before a byte of the body is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from libs.observability.context import bind
from services.api.bodies import JsonRequest
from services.api.callers import admit
from services.api.roles import ROLES
from services.api.services import Services


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

        async def guarded(request: Request) -> Response:
            if allowed:
                services: Services = request.scope["state"]["services"]
                identity = await services.verifier.identify(request.scope["headers"])
                caller = await admit(identity, allowed, services.tenancy)
                bind(tenant_id=str(caller.tenant_id), run_id=request.path_params.get("run_id"))
                request.scope["caller"] = caller
            if field is None:
                return await handle(request)
            with_json = JsonRequest(request.scope, request.receive)
            await with_json.load(required=required)
            return await handle(with_json)

        return guarded
