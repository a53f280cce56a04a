"""The audit log over HTTP: what is noted of administrative acts, refusals and strangers."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from typing import Any

import httpx

from libs.database.engine import PLATFORM, Database
from libs.settings.database import DatabaseSettings
from services.api.denials import Denial, Denials
from tests.fixtures.stack import TestServers
from tests.integration.api.conftest import Clients
from tests.integration.api.records import Records, settings_from
from tests.integration.api.test_runs import start
from tests.integration.database.rows import sql

Entry = tuple[str, str, str, Any, Any]


def subject(client: httpx.Client) -> str:
    """Who a client's token is for."""
    payload = client.headers["authorization"].split(".")[1]
    return str(json.loads(urlsafe_b64decode(payload + "=="))["sub"])


def entries(records: Records, **names: httpx.Client) -> list[Entry]:
    """Actor, action, target, before and after; subjects by the names of their clients."""
    known = {subject(client): name for name, client in names.items()}
    rows = records.sql("SELECT actor, action, target, before, after FROM audit_log ORDER BY id")
    return [
        (known.get(row[0], row[0]), row[1], row[2], json.loads(row[3] or "null"), json.loads(row[4] or "null"))
        for row in rows
    ]


def test_administrative_acts_are_noted(
    admin: httpx.Client, operator: httpx.Client, tenant: str, agent: str, records: Records
) -> None:
    spec = {"model": "scripted/y", "instructions": "Help more."}
    assert operator.post(f"/v1/agents/{agent}/versions", json={"spec": spec, "promote": True}).status_code == 201
    operator.post(f"/v1/agents/{agent}/versions/1/promote")
    operator.post(f"/v1/agents/{agent}/versions/1/promote")  # changes nothing
    operator.patch(f"/v1/agents/{agent}", json={"description": "Helps."})
    operator.delete(f"/v1/agents/{agent}")
    operator.delete(f"/v1/agents/{agent}")
    admin.patch(f"/v1/tenants/{tenant}", json={"name": "New name"})
    admin.patch(f"/v1/tenants/{tenant}", json={"name": "New name"})
    made, *rest = entries(records, ada=operator, root=admin)
    assert made[1:4] == ("create_tenant", f"tenant/{tenant}", None)
    assert made[4]["slug"] == tenant
    assert [entry[:3] for entry in rest] == [
        ("ada", "create_agent", "agent/helper"),
        ("ada", "create_agent_version", "agent/helper/version/2"),
        ("ada", "promote_agent_version", "agent/helper"),
        ("ada", "promote_agent_version", "agent/helper"),
        ("ada", "update_agent", "agent/helper"),
        ("ada", "archive_agent", "agent/helper"),
        ("root", "update_tenant", f"tenant/{tenant}"),
    ]
    assert rest[2][3:] == ({"promoted_version": 1}, {"promoted_version": 2})
    assert rest[-1][3]["name"] == tenant
    assert rest[-1][4]["name"] == "New name"
    assert {row[0] for row in records.sql("SELECT source FROM audit_log")} == {"127.0.0.1"}


def test_a_repeated_request_is_one_act(operator: httpx.Client, records: Records) -> None:
    body = {"slug": "once", "spec": {"model": "p/m"}}
    for _ in range(2):
        operator.post("/v1/agents", json=body, headers={"Idempotency-Key": "k1"})
    assert [entry[1] for entry in entries(records)].count("create_agent") == 1


def test_control_of_somebody_elses_run_is_an_act(
    operator: httpx.Client, user: httpx.Client, agent: str, records: Records
) -> None:
    own, theirs = start(operator, agent)["id"], start(user, agent)["id"]
    operator.post(f"/v1/runs/{own}/cancel")
    operator.post(f"/v1/runs/{theirs}/cancel", json={"reason": "too long"})
    noted = [entry for entry in entries(records, ada=operator, bob=user) if entry[1] == "cancel_run"]
    assert noted == [
        ("ada", "cancel_run", f"run/{theirs}", {"created_by": subject(user)},
         {"desired": "cancelled", "status": "cancelled", "reason": "too long"}),
    ]  # fmt: skip


def test_refusals_are_noted_once_a_minute_and_headers_are_not_believed(
    user: httpx.Client, operator: httpx.Client, admin: httpx.Client, tenant: str, records: Records
) -> None:
    for number in range(5):
        answer = user.get(f"/v1/tenants/other-{number}", headers={"X-Forwarded-For": "6.6.6.6"})
        assert answer.status_code == 403
    other = f"{tenant}-2"
    assert admin.post("/v1/tenants", json={"slug": other}).status_code == 201
    for name in (other, "that-nobody-has"):  # the same answer: whether there is one is not told
        assert operator.get(f"/v1/tenants/{name}").status_code == 403
    admin.patch(f"/v1/tenants/{tenant}", json={"status": "suspended"})
    assert operator.get("/v1/runs").json()["code"] == "tenant_suspended"
    noted = [entry for entry in entries(records, ada=operator, bob=user) if entry[1].startswith("denied:")]
    assert noted == [
        ("bob", "denied:get_tenant", "/v1/tenants/other-0", None, {"code": "forbidden"}),
        ("ada", "denied:get_tenant", f"/v1/tenants/{other}", None, {"code": "forbidden"}),
        ("ada", "denied:list_runs", "/v1/runs", None, {"code": "tenant_suspended"}),
    ]
    assert {row[0] for row in records.sql("SELECT source FROM audit_log")} == {"127.0.0.1"}


def test_a_refusal_of_no_tenant_is_the_platforms(client: Clients, records: Records, servers: TestServers) -> None:
    stranger = client("operator", "nobody-here", f"of-{records.sql('SELECT id FROM tenants')[0][0]}")
    stranger.get("/v1/runs")
    assert platform_rows(servers, subject(stranger)) == [("denied:list_runs", {"code": "forbidden"})]


def test_counts_are_written_when_the_minute_is_over(servers: TestServers, tenant: str, records: Records) -> None:
    tenant_id = records.sql("SELECT id FROM tenants")[0][0]
    who = f"nobody-{tenant_id}"

    async def flood() -> None:
        database = Database.open(settings_from(DatabaseSettings, servers.environment))
        denials = Denials(database)
        for _ in range(50):
            await denials.forbidden(Denial(tenant_id, "eve", "192.0.2.1", "list_tenants", "forbidden"), "/v1/tenants")
            denials.unauthenticated(who)
        await denials.flush()
        await denials.flush()
        await database.close()

    asyncio.run(flood())
    first, again = [entry for entry in entries(records) if entry[0] == "eve"]
    assert (first[2], first[4]) == ("/v1/tenants", {"code": "forbidden"})
    assert (again[2], again[4]["again"]) == ("operation/list_tenants", 49)
    [(action, counted)] = platform_rows(servers, "unauthenticated", who)
    assert (action, counted["count"], counted["sources"]) == ("unauthenticated", 50, {who: 50})


def test_what_cannot_be_written_is_written_later(servers: TestServers, records: Records) -> None:
    tenant_id = records.sql("SELECT id FROM tenants")[0][0]

    async def outage() -> None:
        denials = Denials(Database.open(settings_from(DatabaseSettings, servers.environment)))
        working, away = (
            denials._database,
            settings_from(DatabaseSettings, {**servers.environment, "DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}),
        )
        denials._database = Database.open(away)
        await denials.forbidden(Denial(tenant_id, "eve", "192.0.2.1", "list_tenants", "forbidden"), "/v1/tenants")
        await denials._database.close()
        denials._database = working
        await denials.flush()
        await working.close()

    asyncio.run(outage())
    assert [entry[:3] for entry in entries(records) if entry[0] == "eve"] == [
        ("eve", "denied:list_tenants", "/v1/tenants")
    ]


def platform_rows(servers: TestServers, actor: str, source: str | None = None) -> list[tuple[str, Any]]:
    async def read() -> list[tuple[str, Any]]:
        database = Database.open(settings_from(DatabaseSettings, servers.environment))
        async with database.tenant(PLATFORM) as connection:
            statement = "SELECT action, after FROM audit_log WHERE actor = $1 AND source = coalesce($2, source)"
            rows = await sql(connection, f"{statement} ORDER BY id", actor, source)
            found = [(row[0], json.loads(row[1])) for row in rows]
        await database.close()
        return found

    return asyncio.run(read())
