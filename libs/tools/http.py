"""The tool kind `http`: one declared endpoint, called with care for what is known about its effect."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httpcore

from libs.domain.redaction import Redactor
from libs.domain.secrets import SecretMissing
from libs.domain.tool_specs import HttpToolSpec
from libs.domain.tools import (
    CallFailed,
    CallNotSent,
    CallRefused,
    Effect,
    OutcomeUnknown,
    ToolCall,
    ToolContext,
    ToolFunction,
    ToolResult,
)
from libs.tools.egress import Egress, Outgoing, Progress
from libs.tools.http_answer import BrokenAnswer, header, read_text, retry_after
from libs.tools.http_request import UnusableArgument, build, redirected

MAX_REDIRECTS = 3
# Seconds by which the caller's limit is later: this module's own knows whether anything was sent.
OWN_LIMIT_FIRST = 1.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpTool:
    """Calls the endpoint of one declaration."""

    kind = "http"

    def __init__(self, spec: HttpToolSpec, egress: Egress) -> None:
        self._spec = spec
        self._egress = egress
        self.functions = (
            ToolFunction(
                name=spec.name,
                description=spec.description,
                parameters=spec.parameters,
                effect=spec.effect,
                timeout_seconds=spec.timeout_seconds + OWN_LIMIT_FIRST,
                on_unknown=spec.on_unknown,
                queue=spec.queue,
            ),
        )

    async def call(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """Send the request; an answer below 502 is a result, with status and body.

        Raises:
            CallNotSent: no connection came about, or it ended before the request was sent.
            CallRefused: 429.
            OutcomeUnknown: sent, but the answer is missing, broken, or that of a gateway (502 and above).
            CallForbidden: the egress guard refuses the address, or that of a redirect.
        """
        progress = Progress()
        try:
            request = build(self._spec, call, context.headers, context.secrets)
            async with asyncio.timeout(self._spec.timeout_seconds):
                return await self._exchange(request, progress, context.secrets.redactor)
        except (UnusableArgument, SecretMissing) as problem:
            return ToolResult(str(problem), is_error=True)
        except httpcore.LocalProtocolError:
            raise CallNotSent(f"the request to {request.url.host} is no valid HTTP") from None
        except TimeoutError:
            raise self._failure(
                request, progress, f"gave no whole answer within {self._spec.timeout_seconds:g} s"
            ) from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            what = "broke the connection" if progress.sent else "could not be connected to"
            raise self._failure(request, progress, f"{what} ({type(error).__name__})") from None
        except BrokenAnswer as error:
            raise self._failure(request, progress, f"answered in pieces: {error}") from None

    async def _exchange(self, request: Outgoing, progress: Progress, redactor: Redactor) -> ToolResult:
        for _ in range(MAX_REDIRECTS + 1):
            location = ""
            # A write goes out on a connection of its own: one that the server closes meanwhile would leave it unknown.
            fresh = self._spec.effect is Effect.WRITE
            async with self._egress.send(request, progress, self._spec.timeout_seconds, fresh=fresh) as response:
                location = header(response, "location") if self._follows(response.status) else ""
                if not location:
                    return await self._result(request, response, redactor)
            request = redirected(request, location)
        return ToolResult(f"The server redirects more than {MAX_REDIRECTS} times.", is_error=True)

    def _follows(self, status: int) -> bool:
        return status in _REDIRECTS and self._spec.method in ("GET", "HEAD") and self._spec.effect is not Effect.WRITE

    async def _result(self, request: Outgoing, response: httpcore.Response, redactor: Redactor) -> ToolResult:
        status = response.status
        wait = retry_after(header(response, "retry-after"))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise CallRefused(f"{request.url.host} answered 429", wait)
        if status >= HTTPStatus.BAD_GATEWAY:
            raise OutcomeUnknown(f"{request.url.host} answered {status}", wait)
        text = await read_text(response, self._spec.max_response_bytes, redactor)
        moved = redactor.redact(header(response, "location")) if status < HTTPStatus.BAD_REQUEST else ""
        head = f"HTTP {status}" + (f"\nLocation: {moved[:2000]}" if moved else "")
        return ToolResult(f"{head}\n\n{text}", is_error=status >= HTTPStatus.BAD_REQUEST)

    def _failure(self, request: Outgoing, progress: Progress, what: str) -> CallFailed:
        """The message names the host only: paths and queries hold what the model wrote."""
        return (OutcomeUnknown if progress.sent else CallNotSent)(f"{request.url.host} {what}")
