"""Listeners are told together what happens on the way, and at once of the end."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from libs.domain import events
from libs.domain.events import NewEvent
from services.worker.keys import RunKey
from services.worker.wakes import MOMENT, Wakes

STEP = NewEvent(events.TOOL_COMPLETED, {})
END = NewEvent(events.RUN_COMPLETED, {})


class Heard:
    def __init__(self) -> None:
        self.seqs: list[int] = []

    def wake(self, tenant_id: UUID, run_id: UUID, last_seq: int) -> None:
        self.seqs.append(last_seq)


async def test_commits_of_a_moment_are_told_as_one() -> None:
    heard, run = Heard(), RunKey(uuid4(), uuid4())
    wakes = Wakes(heard)
    for seq in (1, 2, 3):
        wakes.committed(run, [STEP], seq)
    assert heard.seqs == []
    await asyncio.sleep(2 * MOMENT)
    assert heard.seqs == [3]
    wakes.committed(run, [STEP], 4)
    await asyncio.sleep(2 * MOMENT)
    assert heard.seqs == [3, 4]


async def test_the_end_is_told_at_once_and_once() -> None:
    heard, run, other = Heard(), RunKey(uuid4(), uuid4()), RunKey(uuid4(), uuid4())
    wakes = Wakes(heard)
    wakes.committed(run, [STEP], 1)
    wakes.committed(other, [STEP], 7)
    wakes.committed(run, [STEP, END], 3)
    assert heard.seqs == [3]
    await asyncio.sleep(2 * MOMENT)
    assert heard.seqs == [3, 7]
