"""Reading a run's log: a page of it, or the feed of one client."""

from __future__ import annotations

from uuid import UUID

from libs.database import events
from libs.database.events import Opening
from services.api.callers import Caller
from services.api.feed import PAGE, Feed
from services.api.operations.runs import missing_run
from services.api.services import Services


async def read_page(services: Services, caller: Caller, run_id: UUID, after: int, limit: int) -> Opening:
    async with services.database.single() as connection:
        opening = await events.open_page(connection, caller.tenant_id, run_id, after, limit)
    if opening is None or caller.sees_only not in (None, opening.created_by):
        raise missing_run()
    return opening


async def open_feed(services: Services, caller: Caller, run_id: UUID, after: int) -> Feed:
    """What is there is read at once; the rest comes as it is committed."""
    opening = await read_page(services, caller, run_id, after, PAGE)
    return Feed(services.live, services.standing, caller, run_id, after, opening)
