"""The OpenAPI document and the table of roles are complete and true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRouter
from openapi_spec_validator import validate
from starlette.responses import Response

from services.api import roles
from services.api.application import create_app
from services.api.openapi import DOCUMENT, document, text
from services.api.problems import PROBLEMS
from services.api.route import GuardedRoute, RouteWithoutRoles


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app()


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document(app)["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_the_document_in_docs_is_of_this_code(app: FastAPI) -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == text(app), "run `python -m services.api.openapi`"


async def test_the_document_is_served(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        for _ in range(2):
            answer = await client.get("/openapi.json")
            assert (answer.status_code, answer.text) == (200, text(app))


def test_the_document_is_valid(app: FastAPI) -> None:
    validate(document(app))


def test_every_operation_names_its_errors(app: FastAPI) -> None:
    for method, path, operation in operations(app):
        if not path.startswith("/v1") or path == "/v1/version":
            continue
        assert {"401", "403", "422", "500", "503"} <= operation["responses"].keys(), (method, path)
        assert operation["security"] == [{"bearer": []}]
        if method == "post":
            assert any(parameter["name"] == "Idempotency-Key" for parameter in operation["parameters"]), path
            assert "409" in operation["responses"]
        if "requestBody" in operation:
            assert "413" in operation["responses"]


def test_every_error_is_documented_as_a_problem(app: FastAPI) -> None:
    for method, path, operation in operations(app):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and path.startswith("/v1"):
                assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


def test_every_code_is_documented_somewhere(app: FastAPI) -> None:
    whole = json.dumps(document(app)["paths"])
    named = set(re.findall(r"[a-z_]+", whole))
    assert set(PROBLEMS) - named == {"method_not_allowed"}


def test_the_roles_name_every_route_and_nothing_else(app: FastAPI) -> None:
    names = {route.name for route in app.routes if isinstance(route, GuardedRoute)}
    assert names == set(roles.ROLES)


def test_no_route_lets_a_caller_choose_its_tenant(app: FastAPI) -> None:
    """The token's issuer says it, or our row of a service account; only administrators name a tenant, to act on it."""
    schemas = document(app)["components"]["schemas"]
    named = {
        operation["operationId"].partition("_v1_")[0]: f"{method} {path}"
        for method, path, operation in operations(app)
        if "tenant" in json.dumps([path, operation.get("parameters"), _body(schemas, operation)])
    }
    members = {name for name in named if roles.ROLES[name] - roles.PLATFORM}
    # An operator may ask for its own tenant only, and only administrators group usage by tenant.
    assert members == {"get_tenant", "get_usage"}


def _body(schemas: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    """The names of the fields that a request's body may have."""
    named = re.findall(r"#/components/schemas/(\w+)", json.dumps(operation.get("requestBody")))
    return [field for name in named for field in schemas[name].get("properties", {})]


def test_a_route_without_roles_does_not_start() -> None:
    router = APIRouter(route_class=GuardedRoute)

    async def unheard_of() -> Response:
        return Response()

    with pytest.raises(RouteWithoutRoles):
        router.add_api_route("/v1/unheard-of", unheard_of)
