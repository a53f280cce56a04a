"""Objects that nobody refers to are collected, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest

from libs.database.engine import Database
from services.worker.erasing.collector import Collector
from tests.fixtures.stack import TestServers
from tests.integration.database.place import Place
from tests.integration.database.rows import Household, sql


@pytest.fixture
async def place(servers: TestServers, database: Database) -> AsyncIterator[Place]:
    """With a bucket of its own: what others refer to is in other databases."""
    made = Place(servers, database, s3_bucket=f"apart-{uuid4()}")
    made.live.start()
    await made.objects.make_bucket()
    yield made
    await made.close()


async def test_only_objects_that_nobody_refers_to_are_collected(
    place: Place, home: Household, database: Database
) -> None:
    ended, live = await place.fill(home), await place.fill(home, end=False)
    kept_upload = await place.upload(home)
    lost = [
        f"{home.tenant_id}/inputs/{uuid4()}",
        f"{home.tenant_id}/uploads/{uuid4()}",
        f"{home.tenant_id}/{uuid4()}/1/1/content",
        f"{uuid4()}/uploads/x",
    ]
    foreign = "not-ours/file"
    for key in (*lost, foreign):
        await place.objects.put(key, b"x", "text/plain")

    async def sweep(age: timedelta) -> None:
        async with database.maintenance() as connection:
            await sql(connection, "UPDATE object_sweeps SET next_at = now(), after = ''")
        await Collector(database, place.objects, 1, age).round()

    before = await place.keys_of(home)
    await sweep(timedelta(hours=24))
    assert await place.keys_of(home) == before
    await sweep(timedelta(0))
    gone = {f"{home.tenant_id}/{ended}/9/lost", *lost[:3]}
    assert set(await place.keys_of(home)) == set(before) - gone
    assert f"{home.tenant_id}/{live}/9/lost" in before
    assert kept_upload in await place.keys_of(home)
    assert await place.objects.listed(lost[3]) == []
    assert [each.key for each in await place.objects.listed(foreign)] == [foreign]
    assert await Collector(database, place.objects, 1).round() == 0  # another worker has it, or it rests
