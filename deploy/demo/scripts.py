"""What a scripted model answers: a pure function of the conversation, written in Python or given as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from libs.domain.texts import dump

Message = dict[str, Any]  # as in the request
DEFAULT_PIECES = 4


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Usage(_Data):
    """What the server says it has used, in tokens."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


def _argument_text(value: Any) -> Any:
    return value if isinstance(value, str) else dump(value)


class FunctionCall(_Data):
    """One call; arguments are JSON text, or a value that is written as such. Ids may repeat or be empty."""

    name: str
    arguments: Annotated[str, BeforeValidator(_argument_text)] = "{}"
    id: str | None = None


class Fault(_Data):
    """How the answer goes wrong, for the first `times` requests of this turn of a conversation, or for all of them."""

    kind: Literal["status", "reset", "silent", "cut_stream", "malformed_arguments", "no_usage"]
    times: int | None = Field(default=None, ge=0)
    after_chunks: int | None = Field(
        default=None, ge=0, description="reset, silent, cut_stream: so many chunks are sent first"
    )
    status: int = Field(default=500, ge=400, le=599)
    retry_after: str | int | float | None = None
    code: str | None = None
    message: str = "the script says so"


class Answer(_Data):
    """One turn of the model."""

    content: str = ""
    tool_calls: tuple[FunctionCall, ...] = ()
    chunks: int | tuple[str, ...] | None = Field(
        default=None, description="number of pieces of the content, or the pieces"
    )
    usage: Usage | None = Field(default=None, description="counted from the lengths of the texts when not given")
    finish_reason: str | None = None
    first_delay_ms: float = Field(default=0, ge=0)
    delay_ms: float = Field(default=0, ge=0, description="before each chunk but the first")
    hold_after_chunks: int | None = Field(default=None, ge=0, description="then wait until released")
    hold_until_released: bool = Field(default=False, description="the same as hold_after_chunks: 1")
    hold_times: int | None = Field(default=None, ge=0, description="hold only the first requests of this turn")
    fault: Fault | None = None

    def fault_for(self, attempt: int) -> Fault | None:
        """`attempt` counts the requests of this turn of a conversation from 1."""
        if self.fault and (self.fault.times is None or attempt <= self.fault.times):
            return self.fault
        return None

    def hold_for(self, attempt: int) -> int | None:
        """After how many chunks this attempt waits to be released."""
        if self.hold_times is not None and attempt > self.hold_times:
            return None
        return 1 if self.hold_until_released and self.hold_after_chunks is None else self.hold_after_chunks

    def pieces(self) -> list[str]:
        """The content, in the pieces in which it is streamed."""
        if isinstance(self.chunks, tuple):
            return list(self.chunks)
        return cut(self.content, self.chunks or DEFAULT_PIECES)

    @property
    def text(self) -> str:
        return "".join(self.chunks) if isinstance(self.chunks, tuple) else self.content


Script = Callable[[Sequence[Message]], Answer]


class ScriptEnded(Exception):
    """The conversation went on beyond the script's last turn."""


class ScriptData(_Data):
    """A script as data: the n-th answer of a conversation is the n-th turn."""

    model: str = Field(min_length=1)
    turns: tuple[Answer, ...] = Field(min_length=1)

    def script(self) -> Script:
        def answer(messages: Sequence[Message]) -> Answer:
            turn = turn_of(messages)
            if turn >= len(self.turns):
                raise ScriptEnded(f"the script {self.model} has {len(self.turns)} turns, turn {turn + 1} was asked for")
            return self.turns[turn]

        return answer


def turn_of(messages: Sequence[Message]) -> int:
    """How many answers the conversation already has: the server remembers nothing."""
    return sum(1 for message in messages if message.get("role") == "assistant")


def cut(text: str, pieces: int) -> list[str]:
    """Cut into at most so many pieces of about the same length."""
    if not text:
        return []
    length = -(-len(text) // max(1, pieces))
    return [text[start : start + length] for start in range(0, len(text), length)]
