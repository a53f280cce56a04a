"""The cases notice each way in which an answer can differ from the document."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conformance.api.fuzz import fuzz
from tests.conformance.api.ground import Ground

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "small", "version": "1"},
    "paths": {
        "/v1/version": {
            "get": {
                "operationId": "get_version_v1_version_get",
                "parameters": [{"name": "n", "in": "query", "schema": {"type": "integer"}}],
                "responses": {
                    "200": {
                        "description": "as it should be",
                        "headers": {"Retry-After": {"schema": {"type": "integer"}}},
                        "content": {
                            "application/json": {
                                "schema": {"type": "object", "required": ["a"], "properties": {"a": {}}}
                            }
                        },
                    },
                    "405": {"description": "another method"},
                },
            }
        }
    },
}
GOOD: dict[str, Any] = {"status": 200, "headers": {"Content-Type": "application/json"}, "body": '{"a": 1}'}


@contextmanager
def serving(answer: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            is_document = self.path == "/openapi.json"
            given = {**GOOD, "body": json.dumps(DOCUMENT)} if is_document else answer
            if self.command != "GET":
                given = {"status": 405, "headers": {}, "body": ""}
            self.send_response_only(given["status"])
            for name, value in {**given["headers"], "Content-Length": str(len(given["body"]))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(given["body"].encode())

        def __getattr__(self, name: str) -> Any:
            """Whatever the method."""
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def failures_of(**changes: Any) -> list[str]:
    with serving({**GOOD, **changes}) as url:
        return sorted(fuzz(Ground(url, dict.fromkeys(("admin", "operator", "user"), "t"), {}), 12, 0, 1, 1).failures)


def test_a_true_document_has_no_failures() -> None:
    assert failures_of() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": 500}, "500 Server error"),
        ({"status": 418}, "418 Undocumented status code"),
        ({"headers": {"Content-Type": "text/plain"}}, "200 Undocumented Content-Type"),
        ({"body": '{"b": 1}'}, "200 Response violates schema"),
        ({"headers": {**GOOD["headers"], "Retry-After": "soon"}}, "200 Response header does not conform to the schema"),
        ({"headers": {**GOOD["headers"], "X-Extra": "1"}}, "200 header x-extra is not documented"),
    ],
)
def test_a_difference_is_noticed(changes: dict[str, Any], said: str) -> None:
    assert f"GET /v1/version: {said}" in failures_of(**changes)
