"""The attacks at the servers: what holds, and that each finds the leak that it is for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import asyncpg
import boto3
import pytest
import redis.asyncio as redis
from botocore.config import Config
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from deploy.embedded.isolation import Victim, object_keys, redis_keys, sql, workflow_ids
from libs.database.engine import Database
from libs.settings.database import DatabaseSettings
from tests.fixtures.stack import TestServers
from tests.integration.database.rows import new_household

MARK = "a-mark-of-the-victim-2f7c"


@dataclass(frozen=True)
class Ground:
    """A database of its own with two tenants, and the other servers of the session."""

    environment: dict[str, str]
    attacker: str
    victim: Victim

    async def execute(self, *statements: str) -> None:
        """As PostgreSQL's superuser could, or a migration that went wrong."""
        settings = {name.lower(): value for name, value in self.environment.items()}
        url, password = settings["database_migration_url"], settings["database_migration_password"]
        connection = await asyncpg.connect(url, password=password, ssl=False)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def leaks(self, layer: Any) -> set[tuple[str, str]]:
        """Attack, and where something was found."""
        found = [tried async for tried in layer.attacks(self.environment, self.attacker, self.victim) if tried.leak]
        return {(tried.attack, tried.what) for tried in found}

    def store(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.environment["S3_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=self.environment["S3_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["S3_SECRET_ACCESS_KEY"],
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )


@pytest.fixture
async def ground(servers: TestServers) -> AsyncIterator[Ground]:
    environment = await asyncio.to_thread(servers.new_database, f"walls_{uuid4().hex[:6]}")
    values: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
    database = Database.open(DatabaseSettings(**values))
    try:
        attacker, victim = [await new_household(database) for _ in "ab"]
        runs = [str(await victim.run(input=f'"{MARK}"')), str(await victim.run())]
        await attacker.run()
        yield Ground(environment, str(attacker.tenant_id), Victim(str(victim.tenant_id), runs, [MARK]))
    finally:
        await database.close()


async def test_sql_holds(ground: Ground) -> None:
    assert await ground.leaks(sql) == set()


@pytest.mark.parametrize(
    ("statement", "attack"),
    [
        ("CREATE POLICY leak ON runs FOR SELECT USING (true)", sql.READ),
        ("DROP POLICY tenant ON agents; CREATE POLICY tenant ON agents USING (true)", sql.READ),
        ("CREATE POLICY leak ON runs FOR SELECT USING (current_setting('app.tenant_id', true) IS NULL)", sql.UNSET),
        ("CREATE POLICY leak ON agents FOR INSERT WITH CHECK (true)", sql.WRITE),
        ("GRANT DELETE ON runs TO agent_runtime_app; CREATE POLICY leak ON runs USING (true)", sql.WRITE),
        ("ALTER TABLE secrets NO FORCE ROW LEVEL SECURITY", sql.CATALOGUE),
        ("CREATE TABLE novelties (tenant_id uuid); GRANT SELECT ON novelties TO agent_runtime_app", sql.CATALOGUE),
        ("ALTER TABLE runs DISABLE ROW LEVEL SECURITY; ANALYZE runs", sql.CATALOGUE),
        ("GRANT CREATE ON SCHEMA public TO agent_runtime_app", sql.WALL),
        ("GRANT SELECT ON run_events TO agent_runtime_maintenance", sql.FINDER),
    ],
)
async def test_a_hole_in_the_wall_is_found(ground: Ground, statement: str, attack: str) -> None:
    await ground.execute(statement)
    assert attack in {attack for attack, _ in await ground.leaks(sql)}


async def test_a_victim_without_rows_proves_nothing(ground: Ground) -> None:
    changed = replace(ground, victim=replace(ground.victim, runs=[str(uuid4())]))
    assert (sql.READ, "the other tenant's own") in await changed.leaks(sql)


async def test_objects_under_the_wrong_prefix_are_found(ground: Ground) -> None:
    store, bucket = ground.store(), ground.environment["S3_BUCKET"]
    own = f"{ground.victim.tenant_id}/run/file"
    stray, mixed = f"stray/{uuid4()}", f"{ground.attacker}/run/file"
    for key in (own, stray, mixed):
        store.put_object(Bucket=bucket, Key=key, Body=MARK.encode())
    try:
        found = await ground.leaks(object_keys)
    finally:
        for key in (own, stray, mixed):
            store.delete_object(Bucket=bucket, Key=key)
    assert {(object_keys.PREFIX, stray), (object_keys.MARKS, stray), (object_keys.MARKS, mixed)} <= found
    assert not {what for _, what in found if own in what}


async def test_keys_without_their_tenant_are_found(ground: Ground) -> None:
    client = redis.from_url(ground.environment["REDIS_URL"], password=ground.environment["REDIS_PASSWORD"])
    run = ground.victim.runs[0]
    good, bare, mixed = f"t:{ground.victim.tenant_id}:run:{run}:deltas", f"run:{run}:deltas", f"t:{ground.attacker}:x"
    async with client:
        for key in (good, bare, mixed):
            await client.set(key, MARK, ex=60)
        found = await ground.leaks(redis_keys)
        await client.delete(good, bare, mixed)
    known = {(attack, what) for attack, what in found if run in what or ground.attacker in what}
    assert known == {
        (redis_keys.PREFIX, repr(bare.encode())),
        (redis_keys.VALUES, repr(bare.encode())),
        (redis_keys.VALUES, repr(mixed.encode())),
    }


async def test_workflows_of_the_wrong_tenant_are_found(ground: Ground) -> None:
    client = await Client.connect(ground.environment["TEMPORAL_ADDRESS"])
    tenant = SearchAttributeKey.for_keyword("TenantId")

    async def start(workflow_id: str, owner: str, argument: str) -> None:
        attributes = TypedSearchAttributes([SearchAttributePair(tenant, owner)])
        await client.start_workflow(
            "no-such", argument, id=workflow_id, task_queue="nobody", search_attributes=attributes
        )

    victim = ground.victim.tenant_id
    ids = [f"run/{victim}/{uuid4()}", f"run/{uuid4()}", f"run/{victim}/{ground.victim.runs[0]}"]
    await start(ids[0], victim, MARK)
    await start(ids[1], victim, "fine")
    await start(ids[2], ground.attacker, "fine")
    wanted = {(workflow_ids.CONTENT, ids[0]), (workflow_ids.IDS, ids[1]), (workflow_ids.LISTED, ids[2])}
    try:
        found: set[tuple[str, str]] = set()
        for _ in range(100):  # the list of workflows comes a moment later
            if (found := await ground.leaks(workflow_ids)) >= wanted:
                break
            await asyncio.sleep(0.1)
        assert found == wanted
    finally:
        for each in ids:
            await client.get_workflow_handle(each).terminate()
