"""An API process on the real servers, and clients that hold every answer against the OpenAPI document."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.fixtures.stack import TestServers
from tests.integration.api.contract import Contract
from tests.integration.api.records import Records

Clients = Callable[..., httpx.Client]


@pytest.fixture(scope="session")
def api_url(servers: TestServers, worker_id: str) -> str:
    return servers.stack.add_api(f"api-{worker_id}", environment=servers.environment)


@pytest.fixture(scope="session")
def contract() -> Contract:
    return Contract()


@pytest.fixture
def client(servers: TestServers, api_url: str, contract: Contract) -> Iterator[Clients]:
    """Makes clients by role, tenant and subject."""
    with ExitStack() as opened:

        def make(
            role: str = "operator", tenant: str | None = None, subject: str = "ada", url: str = ""
        ) -> httpx.Client:
            token = servers.stack.token(role=role, tenant=tenant, subject=subject)
            made = httpx.Client(
                base_url=url or api_url,
                headers={"Authorization": f"Bearer {token}"},
                timeout=30,
                event_hooks={"response": [contract.check]},
            )
            return opened.enter_context(made)

        yield make


@pytest.fixture
def admin(client: Clients) -> httpx.Client:
    return client("admin")


@pytest.fixture
def tenant(admin: httpx.Client) -> str:
    """The slug of a tenant of this test's own."""
    slug = f"t-{secrets.token_hex(6)}"
    assert admin.post("/v1/tenants", json={"slug": slug}).status_code == 201
    return slug


@pytest.fixture
def operator(client: Clients, tenant: str) -> httpx.Client:
    return client("operator", tenant)


@pytest.fixture
def user(client: Clients, tenant: str) -> httpx.Client:
    return client("user", tenant, "bob")


@pytest.fixture
def agent(operator: httpx.Client) -> str:
    """The slug of an agent with one version."""
    answer = operator.post(
        "/v1/agents", json={"slug": "helper", "spec": {"model": "scripted/x", "instructions": "Help."}}
    )
    assert answer.status_code == 201, answer.text
    return "helper"


@pytest.fixture
def records(servers: TestServers, tenant: str) -> Records:
    """What a worker would write, without one."""
    return Records(servers.environment, tenant)
