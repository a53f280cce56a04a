"""The bytes of OpenAI's chat completions: built by hand, since they are sent thousands of times in benchmarks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from deploy.demo.scripts import Answer, FunctionCall, Usage, cut
from libs.domain.texts import dump

DONE = b"data: [DONE]\n\n"
ARGUMENT_PIECES = 3
CREATED = 1_700_000_000


@lru_cache(maxsize=1024)
def chunks(name: str, model: str, answer: Answer, malformed: bool) -> tuple[bytes, ...]:
    """One SSE message for each piece of the content, then of each call's arguments."""
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in answer.pieces()]
    for index, call in enumerate(answer.tool_calls):
        first, *rest = cut(arguments_of(call, malformed), ARGUMENT_PIECES) or [""]
        opening = {"id": call_id(name, index, call), "type": "function", "function": _function(first, call.name)}
        deltas.append({"tool_calls": [{"index": index, **opening}]})
        deltas += [{"tool_calls": [{"index": index, "function": _function(piece)}]} for piece in rest]
    first_delta = {"role": "assistant", **(deltas[0] if deltas else {"content": ""})}
    return tuple(_chunk(name, model, delta, None) for delta in [first_delta, *deltas[1:]])


@lru_cache(maxsize=1024)
def ending(name: str, model: str, answer: Answer) -> bytes:
    return _chunk(name, model, {}, finish_reason(answer))


def usage_chunk(name: str, model: str, usage: Usage) -> bytes:
    return (
        b"data: %s\n\n"
        % dump(
            {"id": name, "object": "chat.completion.chunk", "created": CREATED, "model": model, "choices": []}
            | {"usage": usage_of(usage)}
        ).encode()
    )


def completion(name: str, model: str, answer: Answer, malformed: bool, usage: Usage | None) -> bytes:
    """The whole answer as one JSON document."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.tool_calls:
        message["tool_calls"] = [
            {
                "id": call_id(name, index, call),
                "type": "function",
                "function": _function(arguments_of(call, malformed), call.name),
            }
            for index, call in enumerate(answer.tool_calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": finish_reason(answer), "logprobs": None}
    body = {"id": name, "object": "chat.completion", "created": CREATED, "model": model, "choices": [choice]}
    return dump(body | ({"usage": usage_of(usage)} if usage else {})).encode()


def refusal(message: str, kind: str, code: str | None = None) -> bytes:
    """The body of an error."""
    return dump({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def counted_usage(answer: Answer, request_bytes: int) -> Usage:
    """About four characters to a token, as a server would count."""
    written = len(answer.text) + sum(len(call.name) + len(call.arguments) for call in answer.tool_calls)
    return Usage(input_tokens=request_bytes // 4 + 1, output_tokens=written // 4 + 1)


def finish_reason(answer: Answer) -> str:
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def arguments_of(call: FunctionCall, malformed: bool) -> str:
    """Malformed arguments end in the middle, as those of a model that ran out of tokens."""
    return call.arguments[: max(1, len(call.arguments) // 2)] if malformed else call.arguments


def call_id(name: str, index: int, call: FunctionCall) -> str:
    return call.id if call.id is not None else f"call_{name.removeprefix('chatcmpl-')}_{index}"


def _function(arguments: str, name: str | None = None) -> dict[str, str]:
    return {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}


def _chunk(name: str, model: str, delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": name, "object": "chat.completion.chunk", "created": CREATED, "model": model, "choices": [choice]}
    return b"data: %s\n\n" % dump(body).encode()
