"""What a conversation with the API asks of its driver.

A conversation is a generator that holds the logic of a call (retries, pages, resumption) and yields steps; the two
drivers perform them, `blocking.py` and `awaiting.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agent_runtime.messages import Request
from agent_runtime.retry import Retry

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TransportFailed(Exception):
    """Thrown into a conversation by its driver: no answer, or it broke off."""


@dataclass(frozen=True)
class Send:
    """Send a request. With `stream`, the body of a 2xx is left to `Read`."""

    request: Request
    stream: bool = False


@dataclass(frozen=True)
class Read:
    """The next bytes of the streamed body; empty at its end."""


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class AskToken:
    """The bearer token, or None. With `again`, None unless there is a way to get a fresh one."""

    again: bool = False


@dataclass(frozen=True)
class Emit(Generic[T_co]):
    """Hand an item to the caller who iterates."""

    item: T_co


Step = Send | Read | Wait | AskToken
Conversation = Generator[Step, Any, T]
Flowing = Generator[Step | Emit[T], Any, None]


@dataclass(frozen=True)
class Plan(Generic[T]):
    """A call that ends in one result."""

    converse: Callable[[Retry], Conversation[T]]


@dataclass(frozen=True)
class Flow(Generic[T]):
    """A call that gives items one after the other."""

    converse: Callable[[Retry], Flowing[T]]
