"""What is being worked on: the trace, tenant and run that every log line of the moment carries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

_fields: ContextVar[dict[str, str]] = ContextVar("log_fields", default={})  # noqa: B039 - never mutated, only replaced


def current() -> dict[str, str]:
    return _fields.get()


def bind(**fields: str | None) -> Token[dict[str, str]]:
    """Add fields (`trace_id`, `tenant_id`, `run_id`, …) from here on; None leaves one out."""
    return _fields.set({**_fields.get(), **{name: value for name, value in fields.items() if value is not None}})


def unbind(token: Token[dict[str, str]]) -> None:
    _fields.reset(token)


@contextmanager
def bound(**fields: str | None) -> Iterator[None]:
    """The same for a block."""
    token = bind(**fields)
    try:
        yield
    finally:
        unbind(token)
