"""The two tenants of a check: how each is asked, what it has, and how what it has looks."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import httpx
from agent_runtime import ApiUnreachable, Unusable
from agent_runtime.client import settings as client_settings

TIMEOUT_SECONDS = 20.0
STREAM_SECONDS = 2.0  # an event stream shows within so long what it has to show
LONGEST = 2**20  # bytes of an answer that are looked at
PATIENT_TRIES = 30
MOST_PATIENCE = 5.0  # seconds for one Retry-After

Token = str | Callable[[], str]


class CheckImpossible(Unusable):
    """The check cannot be made: a token is not accepted, a tenant cannot be furnished."""


@dataclass(frozen=True)
class Shot:
    """One request of an attack."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # sent as JSON
    content: bytes | None = None
    about: str = ""

    @property
    def said(self) -> str:
        """Everything that the request itself holds: to find it in the answer is no leak."""
        parts = [self.path, json.dumps(self.body), *map(str, self.params), *self.headers.values()]
        return unquote(" ".join(parts)) + (self.content or b"").decode("latin-1")

    def having(self, **headers: str) -> Shot:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return Shot(self.method, self.path, self.params, {**self.headers, **more}, self.body, self.content, self.about)


@dataclass(frozen=True)
class Answer:
    """What came back; `text` has the headers too."""

    status: int
    code: str
    text: str
    headers: Mapping[str, str]
    document: Any = None


class Party:
    """A tenant's operator. `values` names what it has, `marks` is what nobody else may ever see."""

    def __init__(self, name: str, api_url: str, token: Token, transport: httpx.BaseTransport | None = None) -> None:
        self.name = name
        self.values: dict[str, str] = {}
        self.marks: dict[str, str] = {}
        self.runs: list[str] = []
        self._token = token
        self._http = httpx.Client(**{**client_settings(api_url, TIMEOUT_SECONDS), "transport": transport})

    def send(self, shot: Shot) -> Answer:
        """The answer; told to wait by a limit of rate, it waits."""
        for _ in range(PATIENT_TRIES):
            try:
                answer = self._send_once(shot)
            except httpx.TransportError as error:
                raise ApiUnreachable(f"{shot.method} {shot.path}: {type(error).__name__}") from error
            if answer.status != 429:
                break
            time.sleep(min(_seconds(answer.headers.get("retry-after")), MOST_PATIENCE))
        if answer.status == 401:
            raise CheckImpossible(f"the access token of {self.name} is not accepted: {answer.text[-300:]}")
        return answer

    def _send_once(self, shot: Shot) -> Answer:
        token = self._token() if callable(self._token) else self._token
        headers = {**shot.headers, "Authorization": f"Bearer {token}"}
        body = {"content": shot.content} if shot.body is None else {"json": shot.body}
        with self._http.stream(shot.method, shot.path, params=list(shot.params), headers=headers, **body) as response:
            content = _read(response)
        text = content.decode("utf-8", "replace")
        shown = "\n".join([*(f"{name}: {value}" for name, value in response.headers.items()), "", text])
        document = _json(text)
        code = str(document.get("code", "")) if isinstance(document, dict) else ""
        return Answer(response.status_code, code, shown, response.headers, document)

    def make(self, shot: Shot, *statuses: int) -> Any:
        """The JSON of an answer that must be good; None where the platform does not offer this (501)."""
        answer = self.send(shot)
        if answer.status == 501:
            return None
        if answer.status >= 300 and answer.status not in statuses:
            raise CheckImpossible(
                f"{self.name} cannot {shot.method} {shot.path}: {answer.status} {answer.text[-300:]}. "
                "The tokens must be of an operator of each tenant."
            )
        return answer.document

    def mark(self, what: str, value: str) -> str:
        """Remember a value that is this party's alone."""
        self.marks[value] = what
        return value

    def whoami(self) -> tuple[str, str]:
        """Tenant and subject, as the access token says."""
        token = self._token() if callable(self._token) else self._token
        try:
            part = token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            return str(claims["tenant_id"]), str(claims["sub"])
        except (IndexError, ValueError, KeyError):
            raise CheckImpossible(f"the access token of {self.name} names no tenant and subject") from None

    def close(self) -> None:
        self._http.close()


def segment(value: str) -> str:
    return quote(value, safe="")


def _read(response: httpx.Response) -> bytes:
    """The beginning of the body; of an event stream what comes at once."""
    content = b""
    until = time.monotonic() + STREAM_SECONDS
    streaming = response.headers.get("content-type", "").startswith("text/event-stream")
    for piece in response.iter_bytes():
        content += piece
        if len(content) > LONGEST or (streaming and (b"\n\n" in content or time.monotonic() > until)):
            break
    return content


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _seconds(text: str | None) -> float:
    return float(text) if text and text.replace(".", "", 1).isdigit() else 1.0
