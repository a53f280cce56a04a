"""What an administrator of the platform does with prices."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import audit, prices
from libs.database.engine import Database
from libs.database.prices import PriceRow
from services.api.answers import Answer
from services.api.dependencies import Call
from services.api.operations.idempotency import answer_once
from services.api.schemas.prices import PriceCreate, price_fields, price_json


async def set_price(call: Call, wanted: PriceCreate) -> Answer:
    """Enter a price. Workers know it within ten seconds; calls that were opened before keep theirs."""

    async def work(connection: AsyncConnection) -> Answer:
        before = await prices.in_force(connection, wanted.provider, wanted.model, wanted.valid_from)
        row = await prices.add(
            connection, wanted.provider, wanted.model, wanted.price, wanted.valid_from, call.caller.subject
        )
        await audit.append(
            connection,
            actor=call.caller.subject,
            source=call.caller.source,
            action="set_price",
            target=f"price/{row.provider}/{row.model}",
            before=price_fields(before) if before else None,
            after=price_fields(row),
        )
        return Answer(201, price_json(row))

    return await answer_once(call.services.database, call.caller, call.key, work)


async def list_prices(
    database: Database, provider: str | None, after: tuple[str, str] | None, limit: int
) -> list[PriceRow]:
    async with database.maintenance() as connection:
        return await prices.page(connection, provider, after, limit)


async def list_history(
    database: Database, provider: str | None, model: str | None, before: UUID | None, limit: int
) -> list[PriceRow]:
    async with database.maintenance() as connection:
        return await prices.history(connection, provider, model, before, limit)
