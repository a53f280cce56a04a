"""What a tool is: functions with a declared effect, the call, its result, and the ways in which a call can fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from libs.domain.secrets import NOTHING_REVEALED, Revealed


class Effect(StrEnum):
    """What a call does to the world, and so what may be done when its outcome is unknown."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    WRITE = "write"


class OnUnknown(StrEnum):
    """What happens to the run when a `write` was sent and its outcome is unknown."""

    TELL_MODEL = "tell_model"
    FAIL = "fail"


@dataclass(frozen=True)
class ToolFunction:
    """One function the model may call."""

    name: str
    description: str
    parameters: dict[str, Any]  # JSON Schema 2020-12 of the arguments
    effect: Effect
    timeout_seconds: float = 30.0
    on_unknown: OnUnknown = OnUnknown.TELL_MODEL
    queue: str | None = None  # task queue of its own


@dataclass(frozen=True)
class ToolCall:
    """One call: `arguments` were parsed and fit the function's schema; `effect_id` is stable over attempts."""

    name: str
    arguments: dict[str, Any]
    effect_id: str


@dataclass(frozen=True)
class NewArtifact:
    """A file whose object is already stored; its row is committed with the call's result."""

    name: str
    media_type: str
    size: int  # bytes
    sha256: str  # hex
    object_key: str


@dataclass(frozen=True)
class ToolResult:
    """What goes back to the model."""

    content: str
    is_error: bool = False
    artifacts: tuple[NewArtifact, ...] = ()


class ObjectStorage(Protocol):
    """The part of the object store that tools see."""

    async def put(self, key: str, body: bytes, media_type: str) -> None: ...

    async def get(self, key: str) -> bytes: ...


@dataclass(frozen=True)
class ToolContext:
    """Where a call happens. `artifacts` answers the run's files as they stand in its log."""

    tenant_id: UUID
    run_id: UUID
    turn: int
    index: int
    attempt: int
    objects: ObjectStorage
    artifacts: Callable[[], Awaitable[Sequence[NewArtifact]]]
    headers: dict[str, str] = field(default_factory=dict)  # tracing, passed on to whoever is called
    secrets: Revealed = NOTHING_REVEALED

    @property
    def object_prefix(self) -> str:
        """Key prefix of large values: tenant/run/step/attempt, never shared."""
        return f"{self.tenant_id}/{self.run_id}/t{self.turn}.{self.index}/{self.attempt}/"


class Tool(Protocol):
    """A declared tool of a version, ready to be called."""

    @property
    def functions(self) -> Sequence[ToolFunction]: ...

    async def call(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """Do it.

        Raises `CallNotSent`, `CallRefused` or `OutcomeUnknown`; every answer that the model can use, an error of
        the other side included, is a `ToolResult`.
        """
        ...


class CallFailed(Exception):
    """A call without a result. Its message goes to the log and to Temporal: no content, no secrets."""

    code = "tool_error"
    sent = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class CallNotSent(CallFailed):
    """Nothing left this process (refused connection, name not resolved): safe to repeat, whatever the effect."""

    code = "not_sent"
    sent = False


class CallRefused(CallFailed):
    """The other side answered that it did nothing (429): safe to repeat, whatever the effect."""

    code = "refused"


class OutcomeUnknown(CallFailed):
    """Something was sent and no usable answer came (reset, timeout, 502): a `write` is not to be repeated."""

    code = "outcome_unknown"


class CallForbidden(Exception):
    """Policy forbids this call (the egress guard): final, told to the model."""
