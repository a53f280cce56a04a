"""What a worker that stops does with the steps it has."""

from __future__ import annotations

import asyncio
from typing import cast

from libs.database.engine import Database
from services.worker.control import ControlWatch


async def test_no_step_returns_between_the_last_poll_and_the_word_to_leave() -> None:
    """Rule 15: Temporal would give what follows to a poll that is being closed, and it would be lost for seconds."""
    control = ControlWatch(cast(Database, None))
    async with asyncio.timeout(5):
        await control.may_return()
        control.hold()
        returning = asyncio.create_task(control.may_return())
        await asyncio.sleep(0)
        assert not returning.done()
        control.leave()
        await returning
