"""Secrets over HTTP: values go in and never come out, and a row opens in its own place only."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from libs.clients.sealing import CannotBeOpened, KeyRing
from tests.fixtures.stack import TestServers
from tests.integration.api.conftest import Clients
from tests.integration.api.records import Records

VALUE = "sk-marker-of-a-secret"


def test_a_secret_is_put_listed_replaced_and_deleted(operator: httpx.Client) -> None:
    made = operator.put("/v1/secrets/crm", json={"value": VALUE})
    assert made.status_code == 201, made.text
    assert made.json() | {"created_at": "", "updated_at": ""} == {
        "name": "crm", "created_at": "", "created_by": made.json()["created_by"], "updated_at": "",
        "updated_by": made.json()["created_by"],
    }  # fmt: skip
    again = operator.put("/v1/secrets/crm", json={"value": f"{VALUE}-2"})
    assert again.status_code == 200
    assert again.json()["created_at"] == made.json()["created_at"] < again.json()["updated_at"]
    listed = operator.get("/v1/secrets")
    assert listed.json() == {"items": [again.json()], "next_cursor": None}
    assert operator.delete("/v1/secrets/crm").status_code == 204
    assert operator.delete("/v1/secrets/crm").json()["code"] == "not_found"
    assert operator.get("/v1/secrets").json()["items"] == []


def test_pages_are_by_name(operator: httpx.Client) -> None:
    for name in ("b", "C", "a"):
        operator.put(f"/v1/secrets/{name}", json={"value": VALUE})
    seen: list[str] = []
    cursor: str | None = None
    while cursor or not seen:
        page = operator.get("/v1/secrets", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == ["C", "a", "b"]
    assert len(seen) == 3


@pytest.mark.parametrize(
    "body",
    [
        {}, {"value": "s3cr3t"}, {"value": "x" * 4001}, {"value": f"{VALUE}\n"}, {"value": 12345678},
        {"value": VALUE, "x": 1},
    ],
)  # fmt: skip
def test_values_that_cannot_be_kept_are_refused_and_not_repeated(operator: httpx.Client, body: dict[str, Any]) -> None:
    refused = operator.put("/v1/secrets/crm", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert VALUE not in refused.text
    assert "s3cr3t" not in refused.text
    assert operator.put("/v1/secrets/no.dots", json={"value": VALUE}).status_code == 422


def test_only_operators_of_the_tenant_may(operator: httpx.Client, user: httpx.Client, admin: httpx.Client) -> None:
    operator.put("/v1/secrets/crm", json={"value": VALUE})
    for other in (user, admin):
        assert other.put("/v1/secrets/crm", json={"value": VALUE}).status_code == 403
        assert other.get("/v1/secrets").status_code == 403
        assert other.delete("/v1/secrets/crm").status_code == 403


def test_tenants_have_secrets_of_their_own(operator: httpx.Client, admin: httpx.Client, client: Clients) -> None:
    operator.put("/v1/secrets/crm", json={"value": VALUE})
    neighbour = f"n-{secrets.token_hex(5)}"
    admin.post("/v1/tenants", json={"slug": neighbour})
    there = client("operator", neighbour)
    assert there.get("/v1/secrets").json()["items"] == []
    assert there.delete("/v1/secrets/crm").status_code == 404
    assert there.put("/v1/secrets/crm", json={"value": f"{VALUE}-b"}).status_code == 201
    assert operator.get("/v1/secrets").json()["items"][0]["name"] == "crm"


def test_a_spec_names_secrets_that_exist(operator: httpx.Client) -> None:
    tool = {
        "type": "http", "name": "look", "description": "Looks.", "effect": "read", "method": "GET", "url": "https://x/",
        "headers": {"Authorization": {"secret": "crm", "prefix": "Bearer "}},
    }  # fmt: skip
    spec = {"model": "p/m", "tools": [tool], "provider_key": {"secret": "openai"}}
    refused = operator.post("/v1/agents", json={"slug": "helper", "spec": spec})
    assert [flaw["pointer"] for flaw in refused.json()["errors"]] == [
        "/spec/provider_key", "/spec/tools/0/headers/Authorization",
    ]  # fmt: skip
    operator.put("/v1/secrets/crm", json={"value": VALUE})
    operator.put("/v1/secrets/openai", json={"value": VALUE})
    assert operator.post("/v1/agents", json={"slug": "helper", "spec": spec}).status_code == 201
    version = operator.get("/v1/agents/helper/versions/1").json()
    assert version["spec"] == spec
    operator.delete("/v1/secrets/crm")
    refused = operator.post("/v1/agents/helper/versions", json={"spec": {**spec, "instructions": "Other."}})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


def test_a_row_is_encrypted_and_bound_to_its_place(
    operator: httpx.Client, records: Records, servers: TestServers
) -> None:
    operator.put("/v1/secrets/crm", json={"value": VALUE})
    [(tenant_id, key_id, sealed)] = records.sql("SELECT tenant_id, key_id, sealed FROM secrets")
    assert VALUE.encode() not in sealed
    with open(servers.environment["SECRETS_KEYS_FILE"], encoding="utf-8") as file:
        keys = KeyRing.parse(SecretStr(file.read()))
    assert keys is not None
    assert keys.open(tenant_id, "crm", key_id, sealed) == VALUE
    with pytest.raises(CannotBeOpened):
        keys.open(tenant_id, "other", key_id, sealed)


def test_without_a_key_the_answer_says_what_to_set(
    servers: TestServers, client: Clients, tenant: str, worker_id: str
) -> None:
    unset = {"SECRETS_KEYS_FILE": "", "SECRETS_KEYS": ""}
    url = servers.stack.add_api(f"api-keyless-{worker_id}", environment={**servers.environment, **unset})
    keyless = client("operator", tenant, url=url)
    refused = keyless.put("/v1/secrets/crm", json={"value": VALUE})
    assert (refused.status_code, refused.json()["code"]) == (501, "secrets_not_configured")
    assert "SECRETS_KEYS" in refused.json()["detail"]
    assert keyless.get("/v1/secrets").json()["items"] == []
    servers.stack.stop_service(f"api-keyless-{worker_id}")


def test_acts_are_in_the_audit_log_without_the_value(operator: httpx.Client, records: Records) -> None:
    operator.put("/v1/secrets/crm", json={"value": VALUE})
    operator.put("/v1/secrets/crm", json={"value": f"{VALUE}-2"})
    operator.delete("/v1/secrets/crm")
    rows = records.sql("SELECT action, target, before, after FROM audit_log WHERE target = 'secret/crm' ORDER BY id")
    assert [row[0] for row in rows] == ["put_secret", "put_secret", "delete_secret"]
    assert rows[0][2] is None
    assert rows[1][2] == rows[0][3]
    assert rows[2][3] is None
    assert VALUE not in str(rows)
