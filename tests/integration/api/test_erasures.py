"""Erasures over HTTP: who may ask for which, what is refused, and what one can see of it."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import httpx
from agent_runtime import Client
from typer.testing import CliRunner

from libs.clients.live_keys import LiveKeys
from libs.clients.object_store import ObjectStore
from libs.clients.temporal import Temporal
from libs.database.engine import Database
from libs.settings.database import DatabaseSettings
from libs.settings.object_store import ObjectStoreSettings
from libs.settings.redis import RedisSettings
from libs.settings.temporal import TemporalSettings
from services.cli.main import app
from services.worker.erasing.eraser import Eraser
from services.worker.erasing.stores import Stores
from tests.fixtures.stack import TestServers
from tests.integration.api.records import Records, settings_from
from tests.integration.api.test_audit import subject
from tests.integration.api.test_runs import start


def work_off(servers: TestServers, erasure: str, operator: httpx.Client) -> dict[str, object]:
    """As a worker does, until it is done."""

    async def work() -> None:
        environment = servers.environment
        database = Database.open(settings_from(DatabaseSettings, environment))
        keys = LiveKeys(settings_from(RedisSettings, environment))
        temporal = Temporal.open(settings_from(TemporalSettings, environment))
        stores = Stores(ObjectStore(settings_from(ObjectStoreSettings, environment)), keys, temporal)
        await Eraser(database, stores, 1).round()
        await keys.close()
        await database.close()

    for _ in range(20):
        asyncio.run(work())
        found: dict[str, object] = operator.get(f"/v1/erasures/{erasure}").json()
        if found["status"] == "done":
            return found
    raise AssertionError(f"the erasure is not done: {found}")


def ended(client: httpx.Client, agent: str) -> str:
    run = str(start(client, agent)["id"])
    assert client.post(f"/v1/runs/{run}/cancel").status_code == 202
    return run


def test_a_run_is_deleted_once_it_has_ended(
    operator: httpx.Client, user: httpx.Client, agent: str, servers: TestServers, records: Records
) -> None:
    run = str(start(user, agent)["id"])
    refused = user.delete(f"/v1/runs/{run}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    user.post(f"/v1/runs/{run}/cancel")
    asked = user.delete(f"/v1/runs/{run}")
    assert (asked.status_code, asked.json()["status"]) == (202, "pending")
    assert asked.headers["location"] == f"/v1/erasures/{asked.json()['id']}"
    assert user.delete(f"/v1/runs/{run}").json()["id"] == asked.json()["id"]
    done = work_off(servers, asked.json()["id"], user)
    assert set(json.loads(json.dumps(done["remaining"])).values()) == {0}
    assert operator.get(f"/v1/runs/{run}").status_code == user.delete(f"/v1/runs/{run}").status_code == 404
    rows = records.sql("SELECT action, target FROM audit_log WHERE action LIKE '%_run' ORDER BY id")
    assert rows == [("delete_run", f"run/{run}"), ("erase_run", f"erasure/{asked.json()['id']}")]


def test_a_user_deletes_its_own_runs_only(operator: httpx.Client, user: httpx.Client, agent: str) -> None:
    run = ended(operator, agent)
    assert user.delete(f"/v1/runs/{run}").status_code == 404
    assert user.delete(f"/v1/runs/{uuid4()}").status_code == 404
    asked = operator.delete(f"/v1/runs/{run}").json()["id"]
    assert user.get(f"/v1/erasures/{asked}").status_code == 404
    assert user.get("/v1/erasures").json()["items"] == []
    assert [item["id"] for item in operator.get("/v1/erasures").json()["items"]] == [asked]


def test_an_operator_erases_what_a_user_has(
    operator: httpx.Client, user: httpx.Client, agent: str, servers: TestServers, records: Records
) -> None:
    run, kept = ended(user, agent), ended(operator, agent)
    user.post("/v1/artifacts?name=a.txt", content=b"hello", headers={"Idempotency-Key": "u"})
    who = subject(user)
    assert user.delete(f"/v1/users/{who}/data").status_code == 403
    asked = operator.delete(f"/v1/users/{who}/data")
    assert (asked.status_code, asked.json()["kind"], asked.json()["user"]) == (202, "subject", who)
    done = work_off(servers, asked.json()["id"], operator)
    assert json.loads(json.dumps(done["removed"]))["database.runs"] == 1
    assert operator.get(f"/v1/runs/{run}").status_code == 404
    assert operator.get(f"/v1/runs/{kept}").status_code == 200
    assert user.get("/v1/artifacts").json()["items"] == []
    assert records.sql(f"SELECT count(*) FROM idempotency_keys WHERE subject = '{who}'") == [(0,)]


def test_a_finished_erasure_is_checked_again(
    operator: httpx.Client, user: httpx.Client, agent: str, servers: TestServers
) -> None:
    asked = operator.delete(f"/v1/runs/{ended(operator, agent)}").json()["id"]
    work_off(servers, asked, operator)
    assert user.post(f"/v1/erasures/{asked}/check").status_code == 403
    assert operator.post(f"/v1/erasures/{uuid4()}/check").status_code == 404
    again = operator.post(f"/v1/erasures/{asked}/check", headers={"Idempotency-Key": "again"})
    assert (again.status_code, again.json()["status"]) == (202, "running")
    assert work_off(servers, asked, operator)["status"] == "done"


def test_deleting_a_tenant_names_its_erasure(
    admin: httpx.Client, operator: httpx.Client, tenant: str, agent: str, servers: TestServers
) -> None:
    ended(operator, agent)
    assert operator.delete(f"/v1/tenants/{tenant}").status_code == 403
    asked = admin.delete(f"/v1/tenants/{tenant}")
    assert (asked.status_code, asked.json()["status"]) == (202, "deleting")
    erasure = admin.get(asked.headers["location"]).json()
    assert (erasure["kind"], erasure["tenant"]) == ("tenant", tenant)
    assert admin.delete(f"/v1/tenants/{tenant}").headers["location"] == asked.headers["location"]
    assert erasure["id"] in [item["id"] for item in admin.get("/v1/erasures").json()["items"]]
    assert operator.get("/v1/runs").status_code == 403


def test_retention_is_set_by_the_administrator(admin: httpx.Client, operator: httpx.Client, tenant: str) -> None:
    assert admin.get(f"/v1/tenants/{tenant}").json()["retention_days"] is None
    assert admin.patch(f"/v1/tenants/{tenant}", json={"retention_days": 30}).json()["retention_days"] == 30
    assert admin.patch(f"/v1/tenants/{tenant}", json={"name": "New"}).json()["retention_days"] == 30
    assert admin.patch(f"/v1/tenants/{tenant}", json={"retention_days": None}).json()["retention_days"] is None
    for wrong in (0, -1, 40_000, "30", 1.5):
        assert admin.patch(f"/v1/tenants/{tenant}", json={"retention_days": wrong}).status_code == 422
    assert operator.patch(f"/v1/tenants/{tenant}", json={"retention_days": 1}).status_code == 403


def test_sdk_and_command(api_url: str, operator: httpx.Client, user: httpx.Client, agent: str) -> None:
    token = operator.headers["authorization"].removeprefix("Bearer ")
    run = ended(operator, agent)
    environment = {"AGENT_RUNTIME_TOKEN": token}

    def command(*arguments: str, typed: str | None = None) -> str:
        result = CliRunner().invoke(app, ["--api-url", api_url, *arguments], env=environment, input=typed)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert CliRunner().invoke(app, ["--api-url", api_url, "runs", "delete", run], env=environment, input="n").exit_code
    asked = json.loads(command("runs", "delete", run, "--yes", "--json"))
    assert UUID(asked["id"])
    assert run in command("erasures", "show", asked["id"])
    assert asked["id"] in command("erasures", "list")
    assert json.loads(command("users", "erase", subject(user), "--yes", "--json"))["kind"] == "subject"
    with Client(api_url, token) as client:
        erasure = client.erasures.get(asked["id"])
        assert (erasure.run_id, erasure.done) == (run, False)
        assert client.erasures.wait(asked["id"], timeout=0).id == erasure.id
        assert [each.kind for each in client.erasures.list()] == ["subject", "run"]
        assert client.runs.delete(run).id == erasure.id
