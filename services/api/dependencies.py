"""What routes declare as parameters: the call with its caller, idempotency key, pages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from libs.database.idempotency import Key
from libs.domain.errors import InvalidRequest
from services.api.bodies import JsonRequest
from services.api.callers import Caller
from services.api.services import Services


class BearerToken(SecurityBase):
    """Declares the token in the OpenAPI document; the route itself has checked it before."""

    def __init__(self) -> None:
        self.scheme_name = "bearer"
        self.model = HTTPBearer(bearerFormat="JWT", description="An access token of the OpenID Connect issuer")

    async def __call__(self, request: Request) -> Caller:
        caller: Caller = request.scope["caller"]
        return caller


bearer = BearerToken()


def get_services(request: Request) -> Services:
    services: Services = request.scope["state"]["services"]
    return services


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request; `key` is there when the client sent an Idempotency-Key."""

    caller: Caller
    services: Services
    key: Key | None = None
    sent: Any = None  # the JSON body before it was validated

    @property
    def tenant_id(self) -> UUID:
        return self.caller.tenant_id


async def _call(request: Request, caller: Annotated[Caller, Security(bearer)]) -> Call:
    return Call(caller, request.scope["state"]["services"])


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]+$",
        min_length=1,
        max_length=255,
        description="any visible ASCII; within 24 hours the same key and body get the first answer again",
    ),
]


async def _keyed_call(
    request: Request, caller: Annotated[Caller, Security(bearer)], idempotency_key: IdempotencyKey = None
) -> Call:
    sent = request.value if isinstance(request, JsonRequest) else None
    services = request.scope["state"]["services"]
    if idempotency_key is None:
        return Call(caller, services, None, sent)
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise InvalidRequest("There is more than one Idempotency-Key header. Send at most one.")
    path = request.scope["path"]
    operation = f"{request.method} {request.scope['route'].path}"
    digest = hashlib.sha256(f"{path}\n{canonical(sent)}".encode()).hexdigest()
    return Call(caller, services, Key(caller.tenant_id, caller.subject, operation, idempotency_key, digest), sent)


def canonical(value: Any) -> str:
    """The same text for the same JSON value, however it was written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


AnyCall = Annotated[Call, Depends(_call)]
KeyedCall = Annotated[Call, Depends(_keyed_call)]
Limit = Annotated[int, Query(ge=1, le=200, description="items per page")]
Cursor = Annotated[UUID | None, Query(description="`next_cursor` of the page before")]
