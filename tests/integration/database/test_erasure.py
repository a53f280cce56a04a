"""Erasures on real servers: everything named goes, nothing else does, whatever is away or dies meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from libs.clients.object_store import ObjectStore
from libs.database import audit, erasing, erasures, runs, tenants
from libs.database.engine import PLATFORM, Database
from libs.database.steps import Change
from libs.domain.events import END, NewEvent
from libs.settings.object_store import ObjectStoreSettings
from services.worker.erasing import eraser as erasing_module
from services.worker.erasing.eraser import Eraser
from services.worker.erasing.stores import Stores
from services.worker.sealer import Sealer
from tests.fixtures.stack import TestServers
from tests.integration.database.place import Place, settings
from tests.integration.database.rows import Household, sql


@pytest.fixture
async def place(servers: TestServers, database: Database) -> AsyncIterator[Place]:
    made = Place(servers, database)
    made.live.start()
    await leave_others(database)
    yield made
    await leave_others(database)
    await made.close()


async def leave_others(database: Database) -> None:
    """Nothing of one test is worked at in another."""
    async with database.maintenance() as connection:
        await sql(connection, "UPDATE erasures SET finished_at = now() WHERE finished_at IS NULL")


async def rows(home: Household) -> dict[str, int]:
    async with home.database.tenant(home.tenant_id) as connection:
        counts = {}
        for table in erasing.tables_of_tenants():
            [(counts[table],)] = await sql(connection, f"SELECT count(*) FROM {table}")
        return counts


async def test_a_run_goes_with_everything_that_it_left(place: Place, home: Household) -> None:
    run, other = await place.fill(home), await place.fill(home)
    erasure = await place.finish(await place.ask(home, "run", run_id=run))
    assert json.loads(erasure.removed) == {
        "database.runs": 1, "database.run_events": 3, "database.artifacts": 1, "objects": 5, "redis.keys": 1,
        "temporal.workflows": 1,
    }  # fmt: skip
    assert json.loads(erasure.found or "")["database.runs"] == 1
    assert set(json.loads(erasure.remaining or "").values()) == {0}
    assert not (await place.stores.count_runs(home.tenant_id, [run])).total()
    left = await place.stores.count_runs(home.tenant_id, [other])
    assert left == {"objects": 4, "temporal.workflows": 1, "redis.keys": 1, "uploads": 0}
    assert len(await place.keys_of(home)) == 5
    counts = await rows(home)
    assert (counts["runs"], counts["run_events"], counts["artifacts"]) == (1, 3, 1)
    assert await home.sql("SELECT artifact_bytes FROM storage") == [(7,)]
    noted = await home.sql("SELECT actor, source, target FROM audit_log WHERE action = 'erase_run'")
    assert noted == [("ada", "192.0.2.1", f"erasure/{erasure.id}")]


async def test_of_a_subject_everything_goes_that_was_there_and_nothing_of_others(place: Place, home: Household) -> None:
    mine, theirs, live = await place.fill(home, by="bob"), await place.fill(home), await home.run(by="bob")
    await place.upload(home, by="bob")
    kept = await place.upload(home)
    await home.sql(
        "INSERT INTO idempotency_keys (tenant_id, subject, operation, key, digest, response) "
        "VALUES ($1, 'bob', 'o', 'k', 'd', 'content'), ($1, 'ada', 'o', 'k', 'd', 'content')",
        home.tenant_id,
    )
    for run, by in ((mine, "ada"), (theirs, "bob"), (theirs, "ada")):
        await home.sql(
            "INSERT INTO scores (tenant_id, run_id, name, truth, created_by) VALUES ($1, $2, 'good', true, $3)",
            home.tenant_id,
            run,
            by,
        )
    erasure = await place.ask(home, "subject", subject="bob")
    later = await home.run(by="bob")
    erasure = await place.finish(erasure)
    assert {row[0] for row in await home.sql("SELECT id FROM runs")} == {theirs, later}
    assert (await home.sql("SELECT subject FROM idempotency_keys")) == [("ada",)]
    assert await home.sql("SELECT run_id, created_by FROM scores") == [(theirs, "ada")]
    keys = await place.keys_of(home)
    assert kept in keys
    assert not [key for key in keys if str(mine) in key]
    removed = json.loads(erasure.removed)
    assert (removed["database.runs"], removed["database.artifacts"]) == (2, 2)
    assert (removed["database.idempotency_keys"], removed["database.scores"]) == (1, 2)
    assert not await home.sql("SELECT 1 FROM runs WHERE id = $1", live)


async def test_runs_that_work_are_asked_to_end_and_waited_for(place: Place, home: Household) -> None:
    run = await place.fill(home, by="bob", end=False)
    await home.commit(run, Change((NewEvent("run.started", {}),), status="running", started=True))
    erasure = await place.ask(home, "subject", subject="bob")
    await place.eraser.round()
    assert (await place.find(erasure)).waiting_for == "runs to end"
    assert await home.sql("SELECT desired, status FROM runs") == [("cancelled", "cancelling")]
    assert len(await place.keys_of(home)) == 5
    await home.commit(run, Change((NewEvent("run.cancelled", {}, END),), status="cancelled"))
    await place.finish(erasure)
    assert await place.keys_of(home) == []


async def test_a_whole_tenant_leaves_the_head_and_one_entry(
    place: Place, home: Household, neighbours: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing_module, "SETTLED", timedelta(0))
    for household in (home, neighbours):
        await place.fill(household)
        await place.upload(household)
    before = await rows(neighbours)
    await home.run()
    await home.sql("INSERT INTO blocked_subjects (tenant_id, subject, by) VALUES ($1, 'bob', 'ada')", home.tenant_id)
    for table in ("provisioning_steps", "secrets", "service_accounts"):
        await insert_into(home, table)
    async with home.database.tenant(home.tenant_id) as connection:
        await audit.append(connection, actor="ada", source="x", action="a", target="t")
    erasure = await place.ask(home, "tenant", slug="home")
    await place.objects._call(
        lambda s3: s3.create_multipart_upload(Bucket=place.objects._bucket, Key=f"{home.tenant_id}/uploads/x")
    )
    await place.eraser.round()
    assert (await place.find(erasure)).waiting_for == "accounts at the issuer"
    async with home.database.tenant(home.tenant_id) as connection:
        await erasures.note_accounts(connection, erasure.id)
    await asyncio.sleep(2)
    await place.eraser.round()
    assert (await place.find(erasure)).waiting_for == "the audit log to be sealed"
    while await Sealer(home.database, 1).round():
        pass
    erasure = await place.finish(erasure)
    counts = await rows(home)
    assert {table for table, count in counts.items() if count} == {"audit_heads", "erasures"}
    assert not (await place.stores.count_tenant(home.tenant_id)).total()
    assert not await home.sql("SELECT 1 FROM tenants")
    async with home.database.tenant(PLATFORM) as connection:
        [(after,)] = await sql(connection, "SELECT after FROM audit_log WHERE target = $1", f"erasure/{erasure.id}")
    [(seq, digest)] = await home.sql("SELECT seq, hash FROM audit_heads")
    assert json.loads(after)["head"] == f"{seq}:{digest}"
    assert json.loads(after)["slug"] == "home"
    assert (await place.find(erasure, PLATFORM)).finished_at is not None
    assert await rows(neighbours) == before
    assert len(await place.keys_of(neighbours)) == 6


async def insert_into(home: Household, table: str) -> None:
    statements = {
        "provisioning_steps": "(tenant_id, kind, name, step, by) VALUES ($1, 'user', 'bob', 'made', 'ada')",
        "secrets": "(tenant_id, name, key_id, sealed, created_by, updated_by) VALUES ($1, 's', 'k', 'x', 'a', 'a')",
        "service_accounts": "(tenant_id, name, role, created_by) VALUES ($1, 'ci', 'user', 'ada')",
    }
    await home.sql(f"INSERT INTO {table} {statements[table]}", home.tenant_id)


async def test_what_is_kept_no_longer_goes_and_what_is_younger_stays(place: Place, home: Household) -> None:
    old, young = await place.fill(home), await place.fill(home)
    live = await home.run()
    await home.sql("UPDATE runs SET finished_at = now() - interval '31 days' WHERE id = $1", old)
    await place.eraser.round()
    assert (await rows(home))["erasures"] == 0
    async with home.database.tenant(home.tenant_id) as connection:
        await tenants.keep_for(connection, home.tenant_id, 30)
    async with home.database.maintenance() as connection:
        assert await erasures.retain(connection, 3600) >= 1
        assert await erasures.retain(connection, 3600) == 0
    async with home.database.tenant(home.tenant_id) as connection:
        [found] = await erasures.page(connection, None, None, 10)
    erasure = await place.finish(found)
    assert (erasure.kind, json.loads(erasure.removed)["database.runs"]) == ("retention", 1)
    assert {row[0] for row in await home.sql("SELECT id FROM runs")} == {young, live}


async def test_while_a_store_is_away_an_erasure_waits_and_goes_on(
    place: Place, home: Household, servers: TestServers, database: Database
) -> None:
    run = await place.fill(home)
    erasure = await place.ask(home, "run", run_id=run)
    away = Stores(
        ObjectStore(settings(ObjectStoreSettings, servers, s3_endpoint_url="http://127.0.0.1:1")),
        place.keys,
        place.temporal,
    )
    await Eraser(database, away, 1).round()
    waiting = await place.find(erasure)
    assert (waiting.waiting_for, waiting.finished_at) == ("object_store", None)
    assert (await rows(home))["runs"] == 1
    await asyncio.sleep(2)
    await place.finish(erasure)
    assert await place.keys_of(home) == []


STEPS = (
    "note_found", "ended_runs", "remove_runs", "_until_gone", "rows_of_runs", "delete_runs", "note_removed",
    "note_checked",
)  # fmt: skip


class Killed(BaseException):
    """The process died here."""


@pytest.mark.parametrize(
    ("step", "after"), [*((step, False) for step in STEPS), ("remove_runs", True), ("delete_runs", True)]
)
async def test_whoever_dies_over_an_erasure_another_goes_on(
    place: Place, home: Household, database: Database, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    run = await place.fill(home)
    erasure = await place.ask(home, "run", run_id=run)
    owner: Any = next(each for each in (erasures, erasing, Stores, Eraser) if hasattr(each, step))
    work = getattr(owner, step)

    async def deadly(*arguments: Any, **named: Any) -> Any:
        if after:
            await work(*arguments, **named)
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(owner, step, deadly)
        with pytest.raises(Killed):
            await Eraser(database, place.stores, 1).round()
    async with database.maintenance() as connection:  # the lease is up
        await sql(connection, "UPDATE erasures SET next_look_at = now() WHERE id = $1", erasure.id)
    found = await place.finish(erasure)
    assert set(json.loads(found.remaining or "").values()) == {0}
    assert await place.keys_of(home) == []
    assert (await rows(home))["runs"] == 0


async def test_an_erasure_is_worked_at_by_one_of_many(place: Place, home: Household, database: Database) -> None:
    asked = [await place.ask(home, "run", run_id=await place.fill(home)) for _ in range(3)]
    await asyncio.gather(*(Eraser(database, place.stores, 1).round() for _ in range(4)))
    found = [await place.finish(each) for each in asked]
    assert [json.loads(each.removed)["database.runs"] for each in found] == [1, 1, 1]
    assert [each.looks for each in found] == [1, 1, 1]


async def test_a_finished_erasure_can_be_checked_again_and_cleans_what_appeared(place: Place, home: Household) -> None:
    run = await place.fill(home)
    erasure = await place.finish(await place.ask(home, "run", run_id=run))
    late = f"{home.tenant_id}/{run}/late"
    await place.objects.put(late, b"x", "text/plain")
    async with home.database.tenant(home.tenant_id) as connection:
        assert await erasures.reopen(connection, erasure.id)
        assert await erasures.reopen(connection, erasure.id) is None
    again = await place.finish(erasure)
    assert (await place.keys_of(home), again.looks >= 1) == ([], True)


async def test_asking_twice_is_one_erasure(place: Place, home: Household) -> None:
    first = await place.ask(home, "subject", subject="bob")
    assert (await place.ask(home, "subject", subject="bob")).id == first.id
    await place.finish(first)
    assert (await place.ask(home, "subject", subject="bob")).id != first.id


async def test_a_run_that_was_asked_for_again_is_found_by_signal(place: Place, home: Household) -> None:
    """A run that never started is ended by the request itself."""
    run = await home.run(by="bob")
    await place.finish(await place.ask(home, "subject", subject="bob"))
    async with home.database.tenant(home.tenant_id) as connection:
        assert await runs.find(connection, run, None) is None
