"""The tool kind `artifacts`: the model writes, reads and lists the run's files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from libs.domain.errors import DependencyUnavailable, NotFound
from libs.domain.texts import dump
from libs.domain.tools import (
    Effect,
    NewArtifact,
    OutcomeUnknown,
    ToolCall,
    ToolContext,
    ToolFunction,
    ToolResult,
)

MAX_BYTES = 1_048_576
MAX_NAME = 255  # characters
TEXT = "text/plain"
_UNUSABLE = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")
_MEDIA_TYPE = re.compile(
    r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}(; ?charset=[a-z0-9-]{1,30})?", re.IGNORECASE
)
_NAME: dict[str, Any] = {
    "type": "string",
    "description": "file name, such as report.md",
    "minLength": 1,
    "maxLength": MAX_NAME,
}


def _schema(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


FUNCTIONS = (
    ToolFunction(
        "write_artifact",
        "Save a text file with the results of this run. A file of the same name is replaced.",
        _schema(
            {
                "name": _NAME,
                "content": {"type": "string", "description": "the whole text of the file"},
                "media_type": {"type": "string", "description": f"such as text/markdown; {TEXT} if left out"},
            },
            "name",
            "content",
        ),
        Effect.IDEMPOTENT,
    ),
    ToolFunction("read_artifact", "Read a text file of this run.", _schema({"name": _NAME}, "name"), Effect.READ),
    ToolFunction("list_artifacts", "List the files of this run.", _schema({}), Effect.READ),
)


class ArtifactsTool:
    """The files of the run in which it is called; of files with one name, the last is the file."""

    kind = "artifacts"
    functions = FUNCTIONS

    async def call(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """Raises `OutcomeUnknown` when the object store does not answer: each of the functions can be repeated."""
        work: dict[str, Callable[[dict[str, Any], ToolContext], Awaitable[ToolResult]]] = {
            "write_artifact": _write,
            "read_artifact": _read,
            "list_artifacts": _list,
        }
        try:
            return await work[call.name](call.arguments, context)
        except DependencyUnavailable as failure:
            raise OutcomeUnknown("the object store does not answer", failure.retry_after) from None


async def _write(arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    name, media_type = arguments["name"], arguments.get("media_type") or TEXT
    if problem := _name_problem(name):
        return ToolResult(problem, is_error=True)
    if not _MEDIA_TYPE.fullmatch(media_type):
        return ToolResult("The media type must be like text/markdown or application/json.", is_error=True)
    body = arguments["content"].encode("utf-8", "replace")
    if len(body) > MAX_BYTES:
        return ToolResult(f"The file has {len(body)} bytes; {MAX_BYTES} are the most.", is_error=True)
    file = NewArtifact(
        name=name,
        media_type=media_type,
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        object_key=f"{context.object_prefix}artifact",
    )
    await context.objects.put(file.object_key, body, media_type)
    return ToolResult(f"Saved {name} ({file.size} bytes).", artifacts=(file,))


async def _read(arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    file = (await _files(context)).get(arguments["name"])
    if file is None:
        return ToolResult("There is no file of this name; list_artifacts names those there are.", is_error=True)
    if file.size > MAX_BYTES:
        return ToolResult(f"The file has {file.size} bytes; files up to {MAX_BYTES} can be read.", is_error=True)
    try:
        body = await context.objects.get(file.object_key)
        return ToolResult(body.decode("utf-8"))
    except NotFound:
        return ToolResult("The content of this file is no longer kept.", is_error=True)
    except UnicodeDecodeError:
        return ToolResult(f"The file is no text ({file.media_type}, {file.size} bytes).", is_error=True)


async def _list(arguments: dict[str, Any], context: ToolContext) -> ToolResult:
    files = (await _files(context)).values()
    shown = [{"name": file.name, "media_type": file.media_type, "size": file.size} for file in files]
    return ToolResult(dump(shown))


async def _files(context: ToolContext) -> dict[str, NewArtifact]:
    return {file.name: file for file in await context.artifacts()}


def _name_problem(name: str) -> str | None:
    if not 0 < len(name) <= MAX_NAME:
        return f"The name must have 1 to {MAX_NAME} characters."
    if _UNUSABLE.search(name) or name in (".", "..") or name != name.strip():
        return "The name must be a plain file name: no slashes, no control characters, no spaces around it."
    return None
