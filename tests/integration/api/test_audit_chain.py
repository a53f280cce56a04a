"""The sealed audit log over HTTP: pages, export, head, and tampering in SQL that the check finds and names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest
from agent_runtime import AuditHead, Client, Verification, verify_chain
from sqlalchemy.ext.asyncio import AsyncConnection
from typer.testing import CliRunner

from libs.database import audit, audit_chain
from libs.database.engine import Database, open_migration_engine
from libs.settings.database import DatabaseSettings, MigrationSettings
from services.cli.main import app
from services.worker.sealer import BATCH, Sealer
from tests.fixtures.stack import TestServers
from tests.integration.api.records import Records, settings_from
from tests.integration.database.rows import sql

T = TypeVar("T")


def with_database(servers: TestServers, work: Callable[[Database], Awaitable[T]]) -> T:
    async def main() -> T:
        database = Database.open(settings_from(DatabaseSettings, servers.environment))
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(main())


def seal(servers: TestServers) -> None:
    async def work(database: Database) -> None:
        while await Sealer(database, 1).round():
            pass

    with_database(servers, work)


def as_owner(servers: TestServers, *statements: str) -> None:
    """What somebody does who owns the tables and takes the wall down for it."""

    async def main() -> None:
        engine = open_migration_engine(settings_from(MigrationSettings, servers.environment))
        async with engine.begin() as connection:
            for table in ("audit_log", "audit_heads"):
                await connection.exec_driver_sql(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            for statement in statements:
                await connection.exec_driver_sql(statement)
            for table in ("audit_log", "audit_heads"):
                await connection.exec_driver_sql(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        await engine.dispose()

    asyncio.run(main())


@pytest.fixture
def tenant_id(records: Records) -> UUID:
    return UUID(str(records.sql("SELECT id FROM tenants")[0][0]))


@pytest.fixture
def log(records: Records, servers: TestServers, tenant_id: UUID) -> UUID:
    """A tenant whose log has nine sealed entries."""

    async def work(connection: AsyncConnection, tenant_id: UUID) -> None:
        for number in range(2, 10):
            await audit.append(
                connection, actor="ada", source="192.0.2.1", action="update_agent", target=f"agent/a-{number}",
                before={"n": number - 1}, after={"n": number},
            )  # fmt: skip

    records.run(work)
    seal(servers)
    return tenant_id


@pytest.fixture
def sdk(api_url: str, operator: httpx.Client) -> Iterator[Client]:
    with Client(api_url, operator.headers["authorization"].removeprefix("Bearer ")) as client:
        yield client


def found(verification: Verification) -> list[tuple[str, int]]:
    return [(finding.what, finding.seq) for finding in verification.findings]


def test_entries_are_listed_filtered_and_paged(operator: httpx.Client, sdk: Client, log: UUID) -> None:
    entries = list(sdk.audit.list(page_size=2))
    assert [entry.seq for entry in entries] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert (entries[0].before, entries[0].after, entries[0].source) == ({"n": 8}, {"n": 9}, "192.0.2.1")
    assert [entry.seq for entry in sdk.audit.list(action="create_tenant")] == [1]
    assert [entry.seq for entry in sdk.audit.list(target="agent/a-4", actor="ada")] == [4]
    between = {"since": entries[5].as_json()["at"], "until": entries[2].as_json()["at"]}
    page = operator.get("/v1/audit", params=between).json()
    assert [item["seq"] for item in page["items"]] == [6, 5, 4]
    assert operator.get("/v1/audit", params={"actor": "a\0"}).status_code == 422


def test_an_export_is_the_chain_and_its_tail(sdk: Client, records: Records, log: UUID, operator: httpx.Client) -> None:
    operator.post("/v1/agents", json={"slug": "late", "spec": {"model": "p/m"}})
    answer = operator.get("/v1/audit/export")
    assert answer.headers["content-type"] == "application/jsonl"
    entries = [json.loads(line) for line in answer.text.splitlines()]
    assert [entry["seq"] for entry in entries] == [*range(1, 10), None]
    assert [json.loads(line)["seq"] for line in operator.get("/v1/audit/export?after=8").text.splitlines()] == [9, None]
    assert [entry.as_json() for entry in sdk.audit.export()] == entries
    head = sdk.audit.head()
    assert head == AuditHead(9, entries[8]["hash"])
    verification = verify_chain(entries, [head])
    assert verification.intact
    assert verification.unsealed == (entries[9]["id"],)


def test_who_may_read_what(admin: httpx.Client, operator: httpx.Client, user: httpx.Client, log: UUID) -> None:
    for path in ("/v1/audit", "/v1/audit/head", "/v1/audit/export"):
        assert user.get(path).status_code == 403
        assert operator.get(path).status_code == 200
    nobodys = admin.get("/v1/audit", params={"limit": 200}).json()["items"]
    assert {item["tenant_id"] for item in nobodys} <= {"00000000-0000-0000-0000-000000000000"}


def test_before_the_first_seal_there_is_no_head(operator: httpx.Client, sdk: Client) -> None:
    assert sdk.audit.head() is None
    verification = sdk.audit.verify()
    assert (verification.intact, verification.sealed, len(verification.unsealed)) == (True, 0, 1)


OF = "WHERE tenant_id = '{t}' AND seq"
TAMPERED = {
    "changed": (["UPDATE audit_log SET actor = 'eve' {of} = 5"], [("changed", 5)]),
    "changed its hash": (["UPDATE audit_log SET hash = repeat('a', 64) {of} = 5"], [("changed", 5)]),
    "removed": (["DELETE FROM audit_log {of} = 5"], [("removed", 5)]),
    "removed and closed up": (
        ["DELETE FROM audit_log {of} = 5", "UPDATE audit_log SET seq = -seq {of} > 5",
         "UPDATE audit_log SET seq = -seq - 1 {of} < -5", "UPDATE audit_heads SET seq = 8 WHERE tenant_id = '{t}'"],
        [("removed", 5), ("reordered", 5)],
    ),
    "reordered": (
        ["UPDATE audit_log SET seq = -5 {of} = 5", "UPDATE audit_log SET seq = 5 {of} = 6",
         "UPDATE audit_log SET seq = 6 {of} = -5"],
        [("reordered", 5)],
    ),
    "inserted in the middle": (
        ["UPDATE audit_log SET seq = -seq {of} > 4", "UPDATE audit_log SET seq = 1 - seq {of} < 0",
         "INSERT INTO audit_log (tenant_id, actor, source, action, target, seq, previous, hash) "
         "VALUES ('{t}', 'eve', 'x', 'create_agent', 'agent/x', 5, repeat('a', 64), repeat('b', 64))",
         "UPDATE audit_heads SET seq = 10 WHERE tenant_id = '{t}'"],
        [("inserted", 5), ("reordered", 6)],
    ),
    "cut off": (["DELETE FROM audit_log {of} > 6"], [("cut_off", 7)]),
    "cut off with its head": (
        ["DELETE FROM audit_log {of} > 6",
         "UPDATE audit_heads SET (seq, hash) = (SELECT seq, hash FROM audit_log {of} = 6) WHERE tenant_id = '{t}'"],
        [("cut_off", 7)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampering_in_the_database_is_found_and_named(kind: str, sdk: Client, servers: TestServers, log: UUID) -> None:
    kept = sdk.audit.head()
    assert kept is not None
    assert sdk.audit.verify(kept).intact
    statements, expected = TAMPERED[kind]
    as_owner(servers, *(each.format(of=OF.format(t=log), t=log) for each in statements))
    assert sorted(found(sdk.audit.verify(kept))) == expected
    if kind != "cut off with its head":
        assert sorted(found(sdk.audit.verify())) == expected


def test_an_entry_that_is_slipped_in_is_sealed_where_it_shows(sdk: Client, servers: TestServers, log: UUID) -> None:
    slipped = (
        "INSERT INTO audit_log (tenant_id, actor, source, action, target, at) "
        f"VALUES ('{log}', 'eve', 'x', 'create_agent', 'agent/x', now() - interval '1 day')"
    )
    as_owner(servers, slipped)
    seal(servers)
    assert found(sdk.audit.verify()) == [("inserted", 10)]


def test_the_command_checks_a_log_and_a_file(
    api_url: str, operator: httpx.Client, servers: TestServers, log: UUID, tmp_path: Path
) -> None:
    environment = {"AGENT_RUNTIME_TOKEN": operator.headers["authorization"].removeprefix("Bearer ")}

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["--api-url", api_url, "audit", *arguments], env=environment)

    file = tmp_path / "audit.jsonl"
    assert run("export", "--to", str(file)).exit_code == 0
    head = run("head").stdout.strip()
    assert run("verify", "--head", head).exit_code == run("verify", "--file", str(file), "--head", head).exit_code == 0
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:3], lines[3].replace("ada", "eve"), *lines[4:-1]]))
    answer = run("verify", "--file", str(file), "--head", head, "--json")
    assert answer.exit_code == 1
    findings = json.loads(answer.stdout)["findings"]
    assert [(each["what"], each["seq"]) for each in findings] == [("changed", 4), ("cut_off", 9)]
    assert findings[0]["id"] == json.loads(lines[3])["id"]
    as_owner(servers, f"UPDATE audit_log SET after = NULL WHERE tenant_id = '{log}' AND seq = 7")
    answer = run("verify")
    assert (answer.exit_code, "changed" in answer.stdout) == (1, True)
    assert run("list", "--action", "create_tenant").exit_code == 0
    assert run("verify", "--head", "nonsense").exit_code == 2


def test_many_sealers_make_one_chain_and_nobody_who_appends_waits(servers: TestServers, tenant_id: UUID) -> None:
    async def work(database: Database) -> list[audit.AuditRow]:
        async def append(number: int) -> None:
            async with database.tenant(tenant_id) as connection:
                await audit.append(connection, actor="ada", source="x", action="a", target=f"agent/{number}")

        sealers = [Sealer(database, 1) for _ in range(4)]
        for batch in range(5):
            appends = [append(batch * 20 + number) for number in range(20)]
            await asyncio.gather(*appends, *(sealer.seal(tenant_id) for sealer in sealers))
        async with database.maintenance() as sealing:
            # A sealer that stops in the middle of its transaction holds the head, and nobody needs it to append.
            await sql(sealing, "SELECT 1 FROM audit_heads WHERE tenant_id = $1 FOR UPDATE", tenant_id)
            async with asyncio.timeout(2):
                await append(1000)
        while await sealers[0].seal(tenant_id):
            pass
        async with database.tenant(tenant_id) as connection:
            return await audit.chain(connection, 0, BATCH)

    rows = with_database(servers, work)
    assert [row.seq for row in rows] == list(range(1, 103))
    entries = [{**row.hashed(row.seq or 0), "previous": row.previous, "hash": row.hash} for row in rows]
    assert verify_chain(entries).intact


def test_a_log_without_its_head_is_not_sealed_over_and_stops_nobody_elses(
    servers: TestServers, log: UUID, operator: httpx.Client, sdk: Client
) -> None:
    as_owner(servers, f"DELETE FROM audit_heads WHERE tenant_id = '{log}'")
    operator.post("/v1/agents", json={"slug": "late", "spec": {"model": "p/m"}})

    async def work(database: Database) -> None:
        with pytest.raises(audit_chain.SealsLost):
            await Sealer(database, 1).seal(log)
        await Sealer(database, 1).round()

    with_database(servers, work)
    verification = sdk.audit.verify()
    assert (verification.sealed, len(verification.unsealed)) == (9, 1)


def test_sealing_changes_no_entry_twice(servers: TestServers, log: UUID) -> None:
    async def work(database: Database) -> None:
        async with database.maintenance() as connection:
            assert await sql(connection, "UPDATE audit_log SET hash = 'x' WHERE seq = 3 RETURNING 1") == []

    with_database(servers, work)
