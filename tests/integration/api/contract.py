"""Holds answers against the OpenAPI document: status, headers and body."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from services.api.application import create_app
from services.api.openapi import document


class Contract:
    """The document, and how an answer breaks it."""

    def __init__(self) -> None:
        self.document = document(create_app())
        self._routes = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), operations)
            for path, operations in self.document["paths"].items()
        ]

    def check(self, response: httpx.Response) -> None:
        """As an event hook of a client: every answer must be one that the document has."""
        operation = self.operation(response.request.method, response.request.url.path)
        if operation is None:
            assert response.status_code in (404, 405), "a path that the document does not have"
            return
        described = operation["responses"].get(str(response.status_code))
        assert described, (
            f"{response.request.method} {response.request.url.path}: {response.status_code} is not documented"
        )
        for name in (
            "location",
            "retry-after",
            "www-authenticate",
            "etag",
            "content-range",
            "idempotency-replayed",
            "ratelimit-limit",
            "ratelimit-remaining",
            "ratelimit-reset",
        ):
            if name in response.headers:
                assert name in {header.lower() for header in described.get("headers", {})}, f"{name} is not documented"
        media_type = response.headers.get("content-type", "").partition(";")[0]
        content = described.get("content", {})
        if media_type.endswith("json") and "*/*" not in content:
            assert media_type in content, f"{media_type} is not documented for {response.status_code}"
            response.read()
            self._validate(response.json(), content[media_type]["schema"])

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        for pattern, operations in self._routes:
            if pattern.fullmatch(path) and method.lower() in operations:
                found: dict[str, Any] = operations[method.lower()]
                return found
        return None

    def _validate(self, value: Any, schema: dict[str, Any]) -> None:
        whole = {**schema, "components": self.document["components"]}
        errors = [
            f"{error.json_path}: {error.message[:300]}" for error in Draft202012Validator(whole).iter_errors(value)
        ]
        assert not errors, f"{errors} in {json.dumps(value)[:500]}"
