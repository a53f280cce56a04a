"""Calls of OpenAI-compatible models: streamed, never retried here, each failure with its typed fate."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
from openai.types.chat import ChatCompletionChunk

from libs.domain.redaction import RedactedStream, Redactor
from libs.domain.runs import Usage
from libs.domain.secrets import NOTHING_REVEALED
from libs.settings.models import ModelSettings, Provider

RETRYABLE = frozenset({408, 409, 425, 429})  # and every 5xx
MAX_RETRY_AFTER = 3600.0  # seconds


class ModelFailed(Exception):
    """A model call without an answer. The message names no content and no key: it goes to the log and to Temporal."""

    def __init__(
        self, code: str, message: str, *, retryable: bool, sent: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.sent = sent
        self.retry_after = retry_after

    @property
    def refused(self) -> bool:
        """The provider answered that it does not take the request (4xx): it has used no tokens."""
        return self.code.startswith("http_4")


@dataclass(frozen=True)
class ModelRequest:
    """One call. `messages`, `tools` and `response_format` are in the OpenAI format."""

    provider: str
    model: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    response_format: dict[str, Any] | None = None
    api_key: str | None = field(default=None, repr=False)  # in place of the provider's own


@dataclass
class ModelAnswer:
    """What has arrived so far; complete once `finish_reason` is set. Outlives a cancelled call, to be billed."""

    content: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: Usage | None = None
    redactor: Redactor = field(default=NOTHING_REVEALED.redactor, repr=False)
    first_at: float | None = None  # when the first chunk came, on the monotonic clock

    def __post_init__(self) -> None:
        self.protect(self.redactor)

    def protect(self, redactor: Redactor) -> None:
        """From now on take nothing in that holds a value which this one knows."""
        self.redactor, self._stream = redactor, RedactedStream(redactor)

    @property
    def text(self) -> str:
        return "".join(self.content)

    @property
    def received(self) -> int:
        """Characters that have arrived."""
        return sum(map(len, self.content)) + sum(len(call["arguments"]) for call in self.calls.values())

    def take(self, chunk: ChatCompletionChunk) -> str:
        """Take in a chunk; its text, if it has any."""
        if self.first_at is None:
            self.first_at = time.monotonic()
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        text = ""
        for choice in chunk.choices[:1]:
            text = self._stream.take(choice.delta.content or "") if choice.delta else ""
            for piece in (choice.delta.tool_calls or ()) if choice.delta else ():
                self._take_call(piece)
            self.finish_reason = choice.finish_reason or self.finish_reason
        if text:
            self.content.append(text)
        return text

    def end(self) -> str:
        """Nothing more comes; the text that had to wait for more."""
        if text := self._stream.rest():
            self.content.append(text)
        if self.finish_reason is not None:
            self.finish_reason = self.redactor.redact(self.finish_reason)
        self.calls = {
            index: {name: self.redactor.redact(part, cut=True) for name, part in call.items()}
            for index, call in self.calls.items()
        }
        return text

    def _take_call(self, piece: Any) -> None:
        call = self.calls.setdefault(piece.index or 0, {"id": "", "name": "", "arguments": ""})
        call["id"] = piece.id or call["id"]
        if piece.function is not None:
            call["name"] += piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""


def _usage(reported: Any) -> Usage:
    prompt, completion = reported.prompt_tokens_details, reported.completion_tokens_details
    return Usage(
        input_tokens=max(reported.prompt_tokens or 0, 0),
        cached_input_tokens=max((prompt.cached_tokens or 0) if prompt else 0, 0),
        output_tokens=max(reported.completion_tokens or 0, 0),
        reasoning_tokens=max((completion.reasoning_tokens or 0) if completion else 0, 0),
    )


class Models:
    """One HTTP client per provider for the life of the process."""

    def __init__(self, providers: dict[str, Provider], settings: ModelSettings) -> None:
        self._providers = providers
        self._settings = settings
        self._clients = {name: _client(provider, settings) for name, provider in providers.items()}

    def provider(self, name: str, model: str) -> Provider:
        """The provider of a model.

        Raises:
            ModelFailed: it is not configured.
        """
        provider = self._providers.get(name)
        if provider is None or not provider.knows(model):
            what = f"model {model!r} of provider {name!r}" if provider else f"provider {name!r}"
            raise ModelFailed(
                "model_unknown", f"The {what} is not configured (MODEL_PROVIDERS_FILE).", retryable=False, sent=False
            )
        return provider

    async def answer(self, request: ModelRequest, answer: ModelAnswer, on_text: Callable[[str], None]) -> None:
        """Stream one answer into `answer`, each piece of text to `on_text`.

        Raises:
            ModelFailed: with what became of it.
        """
        self.provider(request.provider, request.model)
        try:
            async with asyncio.timeout(self._settings.model_call_timeout_seconds):
                await self._stream(request, answer, on_text)
        except TimeoutError as error:
            limit = self._settings.model_call_timeout_seconds
            raise ModelFailed("model_timeout", f"No complete answer in {limit:g} s.", retryable=True) from error
        except openai.APIStatusError as error:
            raise _refused(error) from error
        except (openai.APIError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise _broken(error) from error
        if answer.finish_reason is None:
            raise ModelFailed("stream_cut", "The stream ended before the answer was complete.", retryable=True)

    async def _stream(self, request: ModelRequest, answer: ModelAnswer, on_text: Callable[[str], None]) -> None:
        # `messages` goes by extra_body: the SDK walks every message of its typed argument (100 ms at 200 steps).
        body: dict[str, Any] = {"messages": request.messages}
        if request.tools:
            body["tools"] = request.tools
        if request.response_format:
            body["response_format"] = request.response_format
        stream = await self._clients[request.provider].chat.completions.create(
            model=request.model,
            messages=[],
            stream=True,
            stream_options={"include_usage": True},
            extra_body=body,
            extra_headers={"Authorization": f"Bearer {request.api_key}"} if request.api_key else None,
            **request.parameters,
        )
        async with stream:
            async for chunk in stream:
                if text := answer.take(chunk):
                    on_text(text)
        if text := answer.end():
            on_text(text)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


def _client(provider: Provider, settings: ModelSettings) -> openai.AsyncOpenAI:
    timeout = httpx.Timeout(
        settings.model_idle_timeout_seconds, connect=settings.model_connect_timeout_seconds, pool=30.0
    )
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
    key = provider.api_key
    # The SDK is typed for httpx2 and takes httpx as well: one HTTP stack in the worker.
    http_client: Any = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
    return openai.AsyncOpenAI(
        base_url=provider.base_url,
        api_key=key.get_secret_value() if key else "none",
        max_retries=0,  # Temporal owns retries
        default_headers=provider.headers,
        http_client=http_client,
    )


def _refused(error: openai.APIStatusError) -> ModelFailed:
    status = error.status_code
    if status in RETRYABLE or status >= 500:
        return ModelFailed(
            f"http_{status}",
            f"The provider answered {status}.",
            retryable=True,
            retry_after=_retry_after(error.response.headers),
        )
    return ModelFailed(f"http_{status}", _help(status, error.code), retryable=False)


def _help(status: int, code: str | None) -> str:
    if code == "context_length_exceeded":
        return "The conversation is longer than the model's context window: use a model with a larger one."
    advice = {
        400: "it does not accept the request: check parameters, tools and output_schema of the agent's version",
        401: "it does not accept the API key: check the variable that `api_key_env` names",
        403: "the API key may not use this model",
        404: "it has no such model or endpoint: check `base_url` and the model's name",
        413: "the request is too large for it",
        422: "it does not accept the request: check parameters, tools and output_schema of the agent's version",
    }.get(status, "it refuses the request")
    return f"The provider answered {status}: {advice}."


def _broken(error: Exception) -> ModelFailed:
    causes: list[BaseException | None] = [error, error.__cause__, error.__context__]
    if any(isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)) for cause in causes):
        return ModelFailed("provider_unreachable", "The provider cannot be reached.", retryable=True, sent=False)
    if any(isinstance(cause, (httpx.ReadTimeout, openai.APITimeoutError)) for cause in causes):
        return ModelFailed("stream_silent", "The provider fell silent.", retryable=True)
    if isinstance(error, (openai.APIResponseValidationError, httpx.InvalidURL)):
        return ModelFailed("bad_answer", "The provider's answer is not of the OpenAI format.", retryable=True)
    return ModelFailed("stream_broken", "The connection to the provider broke.", retryable=True)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms` or `Retry-After` (RFC 9110, a number or a date)."""
    try:
        if value := headers.get("retry-after-ms"):
            seconds = float(value) / 1000
        elif value := headers.get("retry-after"):
            seconds = float(value) if value.strip().isdigit() else _seconds_until(value)
        else:
            return None
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _seconds_until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
