"""From a call's arguments to the request of an `http` tool, and from a redirect to the next one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from libs.domain.secrets import NOTHING_REVEALED, Revealed, SecretHeader
from libs.domain.texts import dump
from libs.domain.tool_specs import PLACEHOLDER, HttpToolSpec
from libs.domain.tools import CallForbidden, Effect, ToolCall
from libs.tools.egress import Outgoing

WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE"})
_KEPT_ACROSS_ORIGINS = frozenset({"accept", "accept-encoding", "accept-language", "user-agent"})


class UnusableArgument(Exception):
    """An argument cannot be part of the URL; the message is for the model."""


def build(
    spec: HttpToolSpec, call: ToolCall, tracing: Mapping[str, str], secrets: Revealed = NOTHING_REVEALED
) -> Outgoing:
    """The request of a call.

    Raises:
        UnusableArgument: an argument would change where the request goes.
        SecretMissing: a header needs one.
    """
    try:
        return _build(spec, call, tracing, secrets)
    except httpx.InvalidURL as error:
        raise UnusableArgument(f"The arguments make no usable address: {error}") from None
    except ValueError:
        raise UnusableArgument("The arguments hold a number that JSON does not know.") from None


def _build(spec: HttpToolSpec, call: ToolCall, tracing: Mapping[str, str], secrets: Revealed) -> Outgoing:
    rest = dict(call.arguments)
    address = _fill(spec.url, {name: rest.pop(name, None) for name in spec.placeholders})
    pairs = [(name, rest.pop(name)) for name in spec.query if name in rest]
    if spec.method in WITHOUT_BODY:
        pairs += rest.items()
        body = None
    else:
        body = dump(rest).encode("utf-8", "replace") if rest or _declares_body(spec) else None
    if query := _query(pairs):
        address += ("&" if "?" in address else "?") + query
    headers = _headers(spec, call, tracing, body) | _secret_headers(spec, secrets)
    return Outgoing(spec.method, httpx.URL(address), headers, body, frozenset(spec.secrets))


def redirected(request: Outgoing, location: str) -> Outgoing:
    """The request that follows a redirect; what may identify the caller goes to the same origin only.

    Raises:
        CallForbidden: it leads to another protocol.
    """
    try:
        url = request.url.join(location).copy_with(fragment=None)
    except httpx.InvalidURL:
        raise CallForbidden("The server redirects to something that is no address.") from None
    if url.scheme not in ("http", "https") or not url.host or (request.url.scheme == "https" and url.scheme == "http"):
        raise CallForbidden(f"The server redirects to {url.scheme or 'another protocol'}, which is not followed.")
    if url.userinfo:
        raise CallForbidden("The server redirects to an address with a user name, which is not followed.")
    headers = dict(request.headers)
    if _origin(url) != _origin(request.url):
        kept = (name for name in headers if name.lower() in _KEPT_ACROSS_ORIGINS and name not in request.private)
        headers = {name: headers[name] for name in kept}
    return Outgoing(request.method, url, headers, private=request.private)


def _fill(template: str, values: Mapping[str, Any]) -> str:
    path_end = template.find("?") if "?" in template else len(template)

    def value(match: re.Match[str]) -> str:
        text = _text(values[match[1]])
        if match.start() < path_end and (not text or any(part in (".", "..") for part in re.split(r"[/\\]", text))):
            raise UnusableArgument(f"The argument {match[1]} is part of a path: it must not be empty, '.' or '..'.")
        return quote(text, safe="", errors="replace")

    return PLACEHOLDER.sub(value, template)


def _query(pairs: list[tuple[str, Any]]) -> str:
    """Lists repeat the name, null is left out."""
    flat = [
        (name, _text(item))
        for name, value in pairs
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    return urlencode(flat, quote_via=quote, safe="", errors="replace")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else dump(value)


def _declares_body(spec: HttpToolSpec) -> bool:
    return bool(set(spec.parameters.get("properties", {})) - set(spec.placeholders) - set(spec.query))


def _headers(spec: HttpToolSpec, call: ToolCall, tracing: Mapping[str, str], body: bytes | None) -> dict[str, str]:
    own = {"User-Agent": "agent-runtime", "Accept": "application/json, text/*;q=0.9, */*;q=0.5"}
    own |= tracing
    if body is not None:
        own["Content-Type"] = "application/json"
    given = {name.lower() for name in spec.headers}
    headers = {name: value for name, value in own.items() if name.lower() not in given}
    headers |= {name: value for name, value in spec.headers.items() if isinstance(value, str)}
    headers["Accept-Encoding"] = "identity"
    if spec.effect is not Effect.READ:
        headers["Idempotency-Key"] = call.effect_id
    return headers


def _secret_headers(spec: HttpToolSpec, secrets: Revealed) -> dict[str, str]:
    wanted = {name: value for name, value in spec.headers.items() if isinstance(value, SecretHeader)}
    return {name: value.prefix + secrets.value(value.secret) for name, value in wanted.items()}


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
