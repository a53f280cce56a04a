"""Routes of what models cost."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from libs.domain.plans import MODEL_PATTERN
from services.api.answers import json_response
from services.api.dependencies import AnyCall, Call, Cursor, KeyedCall, Limit
from services.api.openapi import ALWAYS, BODY, KEYED, REPLAYED, TOKEN, problems
from services.api.operations import prices
from services.api.roles import PLATFORM
from services.api.route import GuardedRoute
from services.api.schemas.prices import ModelName, PriceCreate, PricePage, PriceRead, ProviderName, price_json
from services.api.schemas.shared import page_json

router = APIRouter(prefix="/v1/prices", tags=["usage"], route_class=GuardedRoute, responses=problems(*ALWAYS, *TOKEN))
After = Annotated[str | None, Query(pattern=MODEL_PATTERN, description="`next_cursor` of the page before")]


@router.get("", response_model=PricePage)
async def list_prices(
    call: AnyCall, provider: ProviderName | None = None, limit: Limit = 50, cursor: After = None
) -> Response:
    """What each model costs now, or, where it costs nothing yet, what it will cost first."""
    after_provider, _, after_model = (cursor or "").partition("/")
    after = (after_provider, after_model) if cursor else None
    found = await prices.list_prices(call.services.database, provider, after, limit + 1)
    more = f"{found[limit - 1].provider}/{found[limit - 1].model}" if len(found) > limit else None
    return json_response(page_json((price_json(row, by=_sees_who(call)) for row in found[:limit]), more))


@router.get("/history", response_model=PricePage)
async def list_price_history(
    call: AnyCall,
    provider: ProviderName | None = None,
    model: ModelName | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Every price that was ever entered: the one valid from last first, of one moment the newest first."""
    found = await prices.list_history(call.services.database, provider, model, cursor, limit + 1)
    more = str(found[limit - 1].id) if len(found) > limit else None
    return json_response(page_json((price_json(row, by=_sees_who(call)) for row in found[:limit]), more))


@router.post(
    "",
    status_code=201,
    response_model=PriceRead,
    responses={201: {"headers": {"Idempotency-Replayed": REPLAYED}}, **problems(*ALWAYS, *KEYED, *BODY)},
)
async def set_price(call: KeyedCall, body: PriceCreate) -> Response:
    """Enter a price, for now, the past or the future."""
    return (await prices.set_price(call, body)).response()


def _sees_who(call: Call) -> bool:
    """Who administers the platform is not for its tenants."""
    return bool(call.caller.roles & PLATFORM)
