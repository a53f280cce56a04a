"""Requests and replies as plain data, so that everything but I/O is shared by both clients."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import quote
from uuid import uuid4

from agent_runtime.failures import AnswerNotUnderstood, ApiProblem, Flaw, Unusable, problem_class

Params = Iterable[tuple[str, object]]


class Source(Protocol):
    """A body that can be read from its beginning as often as a retry needs it."""

    @property
    def size(self) -> int: ...

    def pieces(self) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Request:
    """One HTTP request; `read_timeout` is in seconds, None for the client's own."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Source | None = None
    read_timeout: float | None = None

    def having(self, **headers: str) -> Request:
        """The same request with more headers; underscores stand for hyphens."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **more})


def get(*segments: object, params: Params = (), read_timeout: float | None = None) -> Request:
    return Request("GET", path_of(segments), query_of(params), read_timeout=read_timeout)


def send(method: str, *segments: object, body: Mapping[str, Any] | None = None) -> Request:
    """A request with a JSON body, or none."""
    request = Request(method, path_of(segments))
    if body is None:
        return request
    return replace(request.having(Content_Type="application/json"), body=json_bytes(body))


def present(**fields: Any) -> dict[str, Any]:
    """The fields that were given, that is, are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def post(*segments: object, body: Mapping[str, Any] | None = None, key: str | None = None) -> Request:
    """A POST under an idempotency key, made here once for all its tries unless the caller gave one."""
    return send("POST", *segments, body=body or {}).having(Idempotency_Key=key or uuid4().hex)


def carry(body: Source, media_type: str, *segments: object, params: Params, key: str | None) -> Request:
    """A POST whose body is a file."""
    request = Request("POST", path_of(segments), query_of(params), body=body)
    return request.having(Content_Type=media_type, Idempotency_Key=key or uuid4().hex)


def path_of(segments: Iterable[object]) -> str:
    """`/v1/…` with every segment percent-encoded; an empty or dotted one could mean another resource."""
    parts = [str(segment) for segment in segments]
    if any(part in {"", ".", ".."} for part in parts):
        raise Unusable("an id or slug must not be empty")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def query_of(params: Params) -> tuple[tuple[str, str], ...]:
    """Query parameters without those that are None; datetimes need a zone."""
    return tuple((name, text_of(value)) for name, value in params if value is not None)


def text_of(value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise Unusable("a datetime needs a time zone, for example datetime.now(UTC)")
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def json_bytes(value: Any) -> bytes:
    """JSON that survives every transport. Raises `Unusable` for what JSON cannot say, NaN and cycles included."""
    try:
        return json.dumps(value, allow_nan=False, default=_other).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise Unusable(f"the request cannot be written as JSON: {error}") from None


def _other(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON; give strings, numbers, lists and dicts")


@dataclass(frozen=True)
class Reply:
    """A status, headers by lower-case name, and the body (empty while it is being streamed)."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            kind = self.headers.get("content-type", "no content type")
            raise AnswerNotUnderstood(
                f"the answer is not JSON ({self.status}, {kind}); check that the URL is that of Agent Runtime's API"
            ) from None

    @property
    def retry_after(self) -> float | None:
        """Seconds from `Retry-After`, given as seconds or as a date."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return None

    def problem(self) -> ApiProblem:
        """The error that this reply stands for."""
        document = _object(self.body)
        code = str(document.get("code") or f"http_{self.status}")
        raw = document.get("errors")
        flaws = [flaw for flaw in raw if isinstance(flaw, dict)] if isinstance(raw, list) else []
        return problem_class(self.status, code)(
            self.status,
            code,
            str(document.get("detail") or f"the server answered with status {self.status}"),
            title=str(document.get("title") or ""),
            errors=tuple(Flaw(str(f.get("pointer", "")), str(f.get("detail", ""))) for f in flaws),
            retry_after=self.retry_after,
            document=document,
        )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
