"""What routes declare as parameters: the call with its caller, idempotency key, pages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Query, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from libs.database.idempotency import Key
from libs.domain.errors import InvalidRequest
from services.api.bodies import JsonRequest
from services.api.callers import Caller
from services.api.services import Services


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


class BearerToken(SecurityBase):
    """Declares the token in the OpenAPI document; the route itself has checked it before."""

    def __init__(self) -> None:
        self.scheme_name = "bearer"
        self.model = HTTPBearer(bearerFormat="JWT", description="An access token of the OpenID Connect issuer")


class AnyRequest(BearerToken):
    async def __call__(self, request: Request) -> Call:
        return Call(request.scope["caller"], request.scope["state"]["services"])


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


class KeyedRequest(BearerToken):
    """Every POST takes an idempotency key."""

    async def __call__(self, request: Request, idempotency_key: IdempotencyKey = None) -> Call:
        sent = request.value if isinstance(request, JsonRequest) else None
        caller: Caller = request.scope["caller"]
        key = None if idempotency_key is None else _key(request, caller, idempotency_key, sent)
        return Call(caller, request.scope["state"]["services"], key, sent)


def _key(request: Request, caller: Caller, key: str, sent: Any) -> Key:
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise InvalidRequest("There is more than one Idempotency-Key header. Send at most one.")
    operation = f"{request.method} {request.scope['route'].path}"
    digest = hashlib.sha256(f"{request.scope['path']}\n{canonical(sent)}".encode()).hexdigest()
    return Key(caller.tenant_id, caller.subject, operation, key, digest)


def canonical(value: Any) -> str:
    """The same text for the same JSON value, however it was written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


AnyCall = Annotated[Call, Security(AnyRequest())]
KeyedCall = Annotated[Call, Security(KeyedRequest())]
Limit = Annotated[int, Query(ge=1, le=200, description="items per page")]
Cursor = Annotated[UUID | None, Query(description="`next_cursor` of the page before")]
