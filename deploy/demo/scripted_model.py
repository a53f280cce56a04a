"""An OpenAI-compatible model whose answers are scripted: streaming, tool calls, usage, latency and faults on demand."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from deploy.demo import serving, wire
from deploy.demo.control import control_routes
from deploy.demo.journal import Journal, Record
from deploy.demo.playback import Playback
from deploy.demo.scripts import Answer, Script, ScriptData, ScriptEnded, turn_of

SCRIPTS: TypeAdapter[list[ScriptData]] = TypeAdapter(list[ScriptData])


class ScriptedModel:
    """The server: `app` is its ASGI application. It keeps scripts and a journal, and nothing about conversations."""

    def __init__(self, scripts: Mapping[str, Script] | None = None) -> None:
        self.scripts: dict[str, Script] = dict(scripts or {})
        self.journal = Journal()
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", Completions(self), methods=["POST"]),
                Route("/v1/models", self._models),
                *control_routes(self.scripts, self.journal),
            ]
        )

    def add(self, *scripts: ScriptData) -> None:
        for data in scripts:
            self.scripts[data.model] = data.script()

    async def _models(self, request: object) -> JSONResponse:
        models = [
            {"id": name, "object": "model", "created": wire.CREATED, "owned_by": "script"} for name in self.scripts
        ]
        return JSONResponse({"object": "list", "data": models})


class Completions:
    """`POST /v1/chat/completions`, as a bare ASGI application: it is on the path of every benchmark."""

    def __init__(self, model: ScriptedModel) -> None:
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        try:
            request = json.loads(body)
            messages, name = request["messages"], request["model"]
            turn = turn_of(messages)
        except (ValueError, KeyError, TypeError, AttributeError):
            await _refuse(send, 400, "the body must be JSON with model and messages", "invalid_request_error")
            return
        script = self._model.scripts.get(name)
        if script is None:
            text = f"there is no script for the model {name!r}; see GET /v1/models"
            await _refuse(send, 404, text, "invalid_request_error", "model_not_found")
            return
        record = self._record(scope, request, turn, body)
        try:
            answer = script(messages)
        except ScriptEnded as ended:
            await self._fail(record, send, 400, str(ended), "script_ended")
            return
        await self._answer(record, answer, request, scope, receive, send)

    def _record(self, scope: Scope, request: dict[str, Any], turn: int, body: bytes) -> Record:
        messages = request["messages"]
        digest = hashlib.sha256(json.dumps(messages, separators=(",", ":")).encode()).hexdigest()
        record = self._model.journal.open(request["model"], turn, len(messages), digest, body)
        record.stream = bool(request.get("stream"))
        sent = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        record.api_key = len(sent) > len(b"Bearer ")
        record.api_key_sha256 = hashlib.sha256(sent.removeprefix(b"Bearer ")).hexdigest()
        return record

    async def _answer(
        self, record: Record, answer: Answer, request: dict[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        fault = answer.fault_for(record.attempt)
        record.fault = fault.kind if fault else None
        if fault and fault.kind == "status":
            await self._fail(record, send, fault.status, fault.message, fault.code, fault.retry_after)
            return
        if not (fault and fault.kind == "no_usage"):
            record.usage = answer.usage or wire.counted_usage(answer, len(record.body or b""))
        playback = Playback(self._model.journal, record, answer, fault, scope, receive, send)
        try:
            if record.stream:
                await playback.stream(bool((request.get("stream_options") or {}).get("include_usage")))
            else:
                await playback.whole()
        except asyncio.CancelledError:
            self._model.journal.set(record, "aborted")
            raise

    async def _fail(
        self,
        record: Record,
        send: Send,
        status: int,
        message: str,
        code: str | None,
        retry_after: str | int | float | None = None,
    ) -> None:
        record.status = status
        kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
        await _refuse(send, status, message, kind, code, retry_after)
        self._model.journal.set(record, "failed")


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    parts = [body]
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
    return body if len(parts) == 1 else b"".join(parts)


async def _refuse(
    send: Send,
    status: int,
    message: str,
    kind: str,
    code: str | None = None,
    retry_after: str | int | float | None = None,
) -> None:
    body = wire.refusal(message, kind, code)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve scripted answers as an OpenAI-compatible model on 127.0.0.1.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--scripts", type=Path, help='JSON: [{"model": NAME, "turns": [{"content": TEXT}, …]}, …]')
    arguments = parser.parse_args()
    model = ScriptedModel()
    if arguments.scripts:
        model.add(*SCRIPTS.validate_json(arguments.scripts.read_bytes()))
    serving.run(model.app, arguments.port)


if __name__ == "__main__":
    main()
