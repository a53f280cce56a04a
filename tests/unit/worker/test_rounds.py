"""A round that fails takes no worker with it, and one bad erasure none of the others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from libs.database import erasures
from libs.domain.errors import DependencyUnavailable
from services.worker.backlog import Backlog
from services.worker.erasing.eraser import Eraser
from services.worker.rounds import FAILED, come_round


async def test_whatever_a_round_meets_the_next_one_comes() -> None:
    met: list[BaseException] = [KeyError("a row"), DependencyUnavailable("temporal", "away"), ConnectionResetError()]
    left = iter(met)
    enough = asyncio.Event()
    counted = FAILED.labels("test")._value.get()

    async def look() -> None:
        if (error := next(left, None)) is not None:
            raise error
        enough.set()

    going = asyncio.create_task(come_round("test", 0.001, look))
    await asyncio.wait_for(enough.wait(), 5)
    assert not going.done()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert FAILED.labels("test")._value.get() == counted + 1  # who is away did not fail by itself


async def test_of_a_backlog_that_nobody_can_tell_there_is_no_number() -> None:
    answers: list[Any] = [7, DependencyUnavailable("temporal", "away")]

    async def answer() -> int:
        if isinstance(found := answers.pop(0), Exception):
            raise found
        return int(found)

    temporal: Any = SimpleNamespace(backlog=answer)
    backlog = Backlog(temporal, 1.0)
    await backlog.look()
    assert REGISTRY.get_sample_value("agent_runtime_task_queue_backlog") == 7
    with pytest.raises(DependencyUnavailable):
        await backlog.look()
    assert math.isnan(REGISTRY.get_sample_value("agent_runtime_task_queue_backlog") or 0.0)


class Nobody:
    """Transactions of a database that nothing is asked of."""

    @asynccontextmanager
    async def maintenance(self) -> AsyncIterator[None]:
        yield


async def test_an_erasure_that_fails_waits_and_the_next_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = (SimpleNamespace(id=name, looks=0, kind="run") for name in ("bad", "good"))
    due: list[Any] = [bad, good]
    waiting: list[tuple[str, str]] = []
    erased: list[str] = []

    async def retain(*_: Any) -> int:
        return 0

    async def claim(*_: Any) -> Any:
        return due.pop(0) if due else None

    async def wait(connection: Any, erasure: Any, what: str, seconds: float) -> None:
        waiting.append((erasure.id, what))

    async def erase(erasure: Any) -> bool:
        if erasure is bad:
            raise KeyError("nobody thought of this")
        erased.append(erasure.id)
        return True

    for name, fake in (("retain", retain), ("claim", claim), ("wait", wait)):
        monkeypatch.setattr(erasures, name, fake)
    eraser = Eraser(Nobody(), SimpleNamespace(), 1.0)  # type: ignore[arg-type]  # as far as used
    monkeypatch.setattr(eraser, "_erase", erase)
    assert await eraser.round() == 2
    assert erased == ["good"]
    [(failed, why)] = waiting
    assert failed == "bad"
    assert "KeyError" in why
