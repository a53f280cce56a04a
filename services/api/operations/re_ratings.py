"""What an administrator does to have past calls priced again; workers do it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.database import audit, re_ratings
from libs.database.re_ratings import ReRatingRow
from libs.domain.errors import InvalidRequest, NotFound
from services.api.answers import Answer
from services.api.dependencies import Call
from services.api.operations.idempotency import answer_once
from services.api.schemas.re_ratings import ReRatingCreate, re_rating_json


async def create_re_rating(call: Call, wanted: ReRatingCreate) -> Answer:
    async def work(connection: AsyncConnection) -> Answer:
        row = await re_ratings.add(
            connection, wanted.provider, wanted.model, wanted.since, wanted.until, call.caller.subject
        )
        if row is None:
            raise InvalidRequest("`from` must be before `to`, and in the past.")
        await audit.append(
            connection,
            actor=call.caller.subject,
            source=call.caller.source,
            action="create_re_rating",
            target=f"price/{row.provider}/{row.model}",
            after={"id": row.id, "from": row.since, "to": row.until},
        )
        return Answer(202, re_rating_json(row), f"/v1/re-ratings/{row.id}")

    return await answer_once(call.services.database, call.caller, call.key, work)


async def list_re_ratings(call: Call, before: UUID | None, limit: int) -> list[ReRatingRow]:
    async with call.services.database.tenant(call.tenant_id) as connection:
        return await re_ratings.page(connection, before, limit)


async def get_re_rating(call: Call, re_rating_id: UUID) -> ReRatingRow:
    async with call.services.database.tenant(call.tenant_id) as connection:
        row = await re_ratings.find(connection, re_rating_id)
    if row is None:
        raise NotFound("There is no re-rating with this id.")
    return row
