"""What a version may declare about its tools, one model per kind; the work behind them lives in `libs.tools`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from libs.domain.schemas import schema_problem
from libs.domain.secrets import SecretHeader
from libs.domain.tools import Effect, OnUnknown

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
# They belong to the connection or to the platform.
_RESERVED_HEADERS = frozenset(
    {
        "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive",
        "expect", "proxy-authorization", "proxy-connection", "idempotency-key", "accept-encoding",
    }
)  # fmt: skip

FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]


class _Declaration(BaseModel):
    """Unknown fields are mistakes, not extensions."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpToolSpec(_Declaration):
    """One endpoint that the model may call.

    The arguments fill the placeholders of `url` (percent-encoded), then the names in `query`; the rest is the JSON
    body, or, for GET, HEAD and DELETE, query as well.
    """

    type: Literal["http"]
    name: FunctionName
    description: str = Field(min_length=1, max_length=4_000, description="tells the model what the call does and when")
    effect: Effect = Field(
        description="what the call does to the world, and so what happens when its outcome is unknown"
    )
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    url: str = Field(min_length=1, max_length=2_000, description="http or https; {name} stands for an argument")
    parameters: dict[str, Any] = Field(
        default_factory=lambda: {"type": "object", "properties": {}},
        description="JSON Schema (2020-12) of the arguments, of type object",
    )
    query: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(default=(), max_length=64)
    headers: dict[str, str | SecretHeader] = Field(
        default_factory=dict,
        max_length=32,
        description='sent with every call; `{"secret": NAME, "prefix": "Bearer "}` stands for a secret of the tenant',
    )
    timeout_seconds: float = Field(default=30.0, gt=0, le=3_600, allow_inf_nan=False, description="for the whole call")
    max_response_bytes: int = Field(default=65_536, ge=1, le=1_048_576, description="what the model sees is cut here")
    on_unknown: OnUnknown = OnUnknown.TELL_MODEL
    queue: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="task queue of its own")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if problem := _url_problem(url):
            raise ValueError(problem)
        return url

    @field_validator("parameters")
    @classmethod
    def _describes_an_object(cls, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("type") != "object":
            raise ValueError('must have "type": "object": arguments are given by name')
        if not isinstance(schema.get("properties", {}), dict):
            raise ValueError("its properties must be an object")
        if problem := schema_problem(schema):
            raise ValueError(problem)
        return schema

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, str | SecretHeader]) -> dict[str, str | SecretHeader]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a header name")
            if name.lower() in _RESERVED_HEADERS:
                raise ValueError(f"the header {name} is set by the platform")
            if isinstance(value, str) and (len(value) > 4_000 or not _HEADER_VALUE.fullmatch(value)):
                raise ValueError(f"the header {name} must be up to 4000 visible ASCII characters")
        if len({name.lower() for name in headers}) != len(headers):
            raise ValueError("a header is given twice")
        return headers

    @model_validator(mode="after")
    def _names_its_arguments(self) -> HttpToolSpec:
        known = set(self.parameters.get("properties", {}))
        required = set(self.parameters.get("required", ()))
        for name in self.placeholders:
            if name not in known or name not in required:
                raise ValueError(f"the url's {{{name}}} must be among the properties of parameters and be required")
        for name in self.query:
            if name not in known:
                raise ValueError(f"query names {name!r}, which is not among the properties of parameters")
            if name in self.placeholders:
                raise ValueError(f"{name!r} is in the url as well as in query")
        return self

    @property
    def placeholders(self) -> tuple[str, ...]:
        return tuple(PLACEHOLDER.findall(self.url))

    @property
    def function_names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def secrets(self) -> dict[str, str]:
        """The name of the secret by the header that it is sent in."""
        return {name: value.secret for name, value in self.headers.items() if isinstance(value, SecretHeader)}


class ArtifactsToolSpec(_Declaration):
    """Lets the model write, read and list the run's files."""

    type: Literal["artifacts"]

    @property
    def function_names(self) -> tuple[str, ...]:
        return ("write_artifact", "read_artifact", "list_artifacts")


ToolSpec = Annotated[HttpToolSpec | ArtifactsToolSpec, Field(discriminator="type")]


def repeated_functions(tools: Iterable[HttpToolSpec | ArtifactsToolSpec]) -> list[str]:
    """Function names that more than one tool offers: the model could not tell them apart."""
    counts = Counter(name for tool in tools for name in tool.function_names)
    return sorted(name for name, count in counts.items() if count > 1)


def _url_problem(url: str) -> str | None:
    if not re.fullmatch(r"[\x21-\x7e]+", url) or re.search(r'[\\<>"^`|]', url):
        return "must be an address in plain ASCII (encode other characters)"
    if re.sub(PLACEHOLDER, "", url).count("{") or re.sub(PLACEHOLDER, "", url).count("}"):
        return "has a brace that is no {placeholder}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is not an address: {error}"
    if parts.scheme not in ("http", "https") or not host:
        return "must start with http:// or https:// and name a host"
    if "@" in parts.netloc:
        return "must hold no user name or password"
    if "{" in parts.netloc:
        return "may have placeholders in its path and query only: the host is not for the model to choose"
    if "#" in url:
        return "must have no fragment"
    return None
