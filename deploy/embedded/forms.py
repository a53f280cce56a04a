"""Forms as they are posted to the embedded issuer."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.requests import Request

LONGEST_FORM = 16_384


async def read_form(request: Request) -> dict[str, str]:
    """The first value of each field; nothing of a form that is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
