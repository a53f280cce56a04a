"""Every secret is changed while a run is in progress: the run completes, the old secret is refused."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import boto3
import pytest
import redis.asyncio as redis
from botocore.exceptions import ClientError

from tests.conformance.operations.installation import Installation
from tests.conformance.operations.progress import run_in_progress

pytestmark = pytest.mark.timeout(200)


def change(installation: Installation, *names: str) -> dict[str, str]:
    """New values in `.env`; the old ones."""
    old = installation.variables()
    installation.write_env(old | {name: f"new-{uuid4().hex}" for name in names})
    return old


async def connects(environment: Mapping[str, str], prefix: str, password: str) -> bool:
    url = urlsplit(environment[f"{prefix}_URL"])
    try:
        connection = await asyncpg.connect(
            host=url.hostname,
            port=url.port,
            user=url.username,
            database=url.path.strip("/"),
            password=password,
            ssl=False,
        )
    except asyncpg.InvalidPasswordError:
        return False
    await connection.close()
    return True


async def test_passwords_of_the_database(installation: Installation) -> None:
    prefixes = ("DATABASE", "DATABASE_MAINTENANCE", "DATABASE_MIGRATION")
    async with run_in_progress(installation):
        old = change(installation, *(f"{prefix}_PASSWORD" for prefix in prefixes), "KEYCLOAK_DATABASE_PASSWORD")
        installation.run("rotate-database")
    environment, new = installation.stack.environment(), installation.variables()
    for prefix in prefixes:
        assert not await connects(environment, prefix, old[f"{prefix}_PASSWORD"])
        assert await connects(environment, prefix, new[f"{prefix}_PASSWORD"])


async def test_redis_objects_and_the_provisioning_client(installation: Installation) -> None:
    async with run_in_progress(installation):
        names = ("REDIS_PASSWORD", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "KEYCLOAK_PROVISIONER_SECRET")
        old = change(installation, *names)
        installation.run("rotate-servers")
    environment = installation.stack.environment()
    with pytest.raises(redis.AuthenticationError):
        await redis.from_url(environment["REDIS_URL"], password=old["REDIS_PASSWORD"]).ping()
    assert may_list(environment, environment)
    assert not may_list(environment, old)
    async with installation.client() as api:
        account = await api.service_accounts.create(f"robot-{uuid4().hex[:8]}")
        assert account.client_secret


def may_list(environment: Mapping[str, str], keys: Mapping[str, str]) -> bool:
    access: dict[str, Any] = {
        "aws_access_key_id": keys["S3_ACCESS_KEY_ID"],
        "aws_secret_access_key": keys["S3_SECRET_ACCESS_KEY"],
    }
    store = boto3.client("s3", endpoint_url=environment["S3_ENDPOINT_URL"], region_name="us-east-1", **access)
    try:
        store.list_objects_v2(Bucket=environment["S3_BUCKET"])
    except ClientError:
        return False
    return True


async def test_keys_of_model_providers(installation: Installation) -> None:
    async with run_in_progress(installation):
        (installation.directory / "providers.env").write_text("SCRIPTED_KEY=sk-second-9876543210\n")
        installation.run("rotate-providers")
    async with installation.model() as model:
        newest = (await model.requests())[-1]
    assert newest["api_key_sha256"] == hashlib.sha256(b"sk-second-9876543210").hexdigest()


async def test_keys_of_tenants_secrets(installation: Installation) -> None:
    first = installation.variables()["SECRETS_KEYS"].split(",")[0].strip()
    second = f"k-{uuid4().hex[:6]}:{base64.b64encode(os.urandom(32)).decode()}"
    async with installation.client() as api:
        await api.secrets.put("rotated", "value-of-the-secret")
    async with run_in_progress(installation):
        for keys in (f"{first},{second}", f"{second},{first}"):
            installation.write_env(installation.variables() | {"SECRETS_KEYS": keys})
            installation.type("docker compose up --wait")
        assert "were encrypted anew" in installation.run("rotate-encryption")
        installation.write_env(installation.variables() | {"SECRETS_KEYS": second})
        installation.type("docker compose up --wait")
    async with installation.records() as records:
        (row,) = await records.rows("SELECT key_id FROM secrets WHERE name = 'rotated'")
    assert row["key_id"] == second.split(":")[0]
