"""Request bodies: limited while they arrive, and parsed as JSON that has one meaning only."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.requests import Request

from libs.domain.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType

MAX_BODY = 1024 * 1024
MAX_DEPTH = 128


class JsonRequest(Request):
    """A request whose body was read and parsed before FastAPI looks at it."""

    _content: bytes = b""
    _value: Any = None

    async def load(self, *, required: bool) -> None:
        """Read and parse the body.

        Raises:
            PayloadTooLarge, UnsupportedMediaType, InvalidRequest: it cannot be used.
        """
        self._content = await read_body(self)
        if not self._content and not required:
            return
        media_type = self.headers.get("content-type", "").split(";", 1)[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedMediaType("Send the body as JSON with `Content-Type: application/json`.")
        self._value = parse(self._content)

    async def body(self) -> bytes:
        return self._content

    async def json(self) -> Any:
        return self._value

    @property
    def value(self) -> Any:
        """The JSON value as it was sent; None without a body."""
        return self._value


async def read_body(request: Request) -> bytes:
    """The whole body, given up as soon as it is too long, whatever its length was said to be."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > MAX_BODY:
        raise _too_large()
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _too_large()
    return body


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {MAX_BODY} bytes. Upload large content as an artifact.")


def parse(body: bytes) -> Any:
    """A JSON value of UTF-8 text: no duplicate names, no NaN or infinite numbers, not nested too deeply."""
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique
        )
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise InvalidRequest(f"The body cannot be used: {_ascii(str(error))}.") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body is nested more than {MAX_DEPTH} levels deep.")


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()[:200]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def deeper_than(value: Any, depth: int) -> bool:
    """Without recursion, which what is too deep would break."""
    level = [value]
    for _ in range(depth):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)
