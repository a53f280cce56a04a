"""Answers whose JSON is already text, and the first answer of a repeated request."""

from __future__ import annotations

from typing import NamedTuple

from starlette.responses import Response

REPLAYED = "Idempotency-Replayed"


class Answer(NamedTuple):
    """What an operation answers with."""

    status: int
    body: str
    location: str | None = None
    replayed: bool = False

    def response(self) -> Response:
        headers = {"Location": self.location} if self.location else {}
        if self.replayed:
            headers[REPLAYED] = "true"
        return Response(self.body.encode("utf-8"), self.status, headers, "application/json")


def json_response(body: str, status: int = 200) -> Response:
    return Response(body.encode("utf-8"), status, None, "application/json")
