"""What goes wrong with one run or one tenant keeps no other from its turn, and takes no worker with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.database import admission
from libs.database.admission import Given, Occupied
from libs.domain.errors import NotFound
from services.worker.admissions import Admissions
from services.worker.journal import RunVanished
from services.worker.keys import RunKey


class Database:
    """Transactions that know of whom they are."""

    @asynccontextmanager
    async def maintenance(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def tenant(self, tenant_id: UUID) -> AsyncIterator[UUID]:
        yield tenant_id


class Journal:
    """Runs that end, but for those that cannot be read."""

    def __init__(self, broken: dict[UUID, Exception]) -> None:
        self.broken = broken
        self.ended: list[UUID] = []

    async def load(self, run: RunKey) -> Any:
        if run.run_id in self.broken:
            raise self.broken[run.run_id]
        self.ended.append(run.run_id)
        return SimpleNamespace(state=SimpleNamespace(finished=True))

    def forget(self, run: RunKey) -> None: ...


class Temporal:
    def __init__(self) -> None:
        self.started: list[str] = []

    async def start_agent_run(self, run: Any, priority: int) -> None:
        self.started.append(run.run_id)


def admissions(
    monkeypatch: pytest.MonkeyPatch, waiting: list[UUID], overdue: list[UUID], broken: dict[UUID, Exception]
) -> tuple[Admissions, Journal, Temporal]:
    async def nothing(*_: Any) -> list[UUID]:
        return []

    async def waiting_tenants(connection: Any) -> list[UUID]:
        return list(waiting)

    async def overdue_runs(connection: Any, most: int) -> list[tuple[UUID, UUID]]:
        return [(uuid4(), run) for run in overdue]

    async def admit(connection: UUID, tenant_id: UUID, most: int) -> list[Given]:
        if tenant_id in broken:
            raise broken[tenant_id]
        return [Given(tenant_id, 3, None, 0)]

    @asynccontextmanager
    async def impatient(database: Any, tenant_id: UUID) -> AsyncIterator[UUID]:
        yield tenant_id

    for name, fake in (
        ("impatient", impatient),
        ("waiting_tenants", waiting_tenants),
        ("stopped_tenants", nothing),
        ("overdue", overdue_runs),
        ("enter", nothing),
        ("admit", admit),
    ):
        monkeypatch.setattr(admission, name, fake)
    monkeypatch.setattr("random.shuffle", lambda items: None)
    journal, temporal = Journal(broken), Temporal()
    bench: Any = SimpleNamespace(journal=journal)
    return Admissions(Database(), temporal, bench, 1.0), journal, temporal  # type: ignore[arg-type]  # as far as used


async def test_a_run_that_cannot_be_ended_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, unreadable, strange, last = (uuid4() for _ in range(4))
    broken = {gone: RunVanished("gone"), unreadable: NotFound("its input"), strange: KeyError("of a newer release")}
    work, journal, _ = admissions(monkeypatch, [], [gone, unreadable, strange, last], broken)
    await work.round()
    assert journal.ended == [last]


async def test_a_database_that_is_away_is_no_matter_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = uuid4()
    work, _, _ = admissions(monkeypatch, [], [run], {run: ConnectionResetError()})
    with pytest.raises(ConnectionResetError):
        await work.round()


async def test_who_got_a_place_is_started_though_the_next_tenant_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = uuid4(), uuid4()
    work, _, temporal = admissions(monkeypatch, [first, second], [], {second: TimeoutError()})
    with pytest.raises(TimeoutError):
        await work.round()
    assert temporal.started == [str(first)]


async def test_a_tenant_whose_lock_is_held_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    held, other = uuid4(), uuid4()
    work, _, temporal = admissions(monkeypatch, [held, other], [], {held: Occupied(str(held))})
    assert await work.round() == 1
    assert temporal.started == [str(other)]
