"""Files of a run, written and read by the model."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

import pytest

from libs.domain.errors import DependencyUnavailable, NotFound
from libs.domain.tools import NewArtifact, OutcomeUnknown, ToolCall, ToolContext, ToolResult
from libs.tools.artifacts import MAX_BYTES, ArtifactsTool

pytestmark = pytest.mark.asyncio


class Store:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away = False

    async def put(self, key: str, body: bytes, media_type: str) -> None:
        if self.away:
            raise DependencyUnavailable("object_store", "away", retry_after=7)
        self.objects[key] = body

    async def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound("no such object")
        return self.objects[key]


class Run:
    """Calls of one run; results become part of it as the log would have it."""

    def __init__(self) -> None:
        self.store = Store()
        self.files: list[NewArtifact] = []

    async def call(self, function: str, **arguments: Any) -> ToolResult:
        async def artifacts() -> list[NewArtifact]:
            return self.files

        context = ToolContext(UUID(int=1), UUID(int=2), len(self.files), 0, 1, self.store, artifacts)
        result = await ArtifactsTool().call(ToolCall(function, arguments, "effect"), context)
        self.files += result.artifacts
        return result


async def test_written_files_can_be_read_and_listed() -> None:
    run = Run()
    written = await run.call("write_artifact", name="über.md", content="# Ü", media_type="text/markdown")
    (file,) = written.artifacts
    assert (file.size, file.sha256) == (4, hashlib.sha256("# Ü".encode()).hexdigest())
    assert file.object_key.startswith(f"{UUID(int=1)}/{UUID(int=2)}/t0.0/1/")
    assert (await run.call("read_artifact", name="über.md")).content == "# Ü"
    listed = json.loads((await run.call("list_artifacts")).content)
    assert listed == [{"name": "über.md", "media_type": "text/markdown", "size": 4}]


async def test_the_last_of_a_name_wins() -> None:
    run = Run()
    await run.call("write_artifact", name="a", content="old")
    await run.call("write_artifact", name="a", content="new")
    assert (await run.call("read_artifact", name="a")).content == "new"
    assert len(json.loads((await run.call("list_artifacts")).content)) == 1
    assert len(run.store.objects) == 2


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a\\b", "a\nb", " a", "a\0", "x" * 256, "\ud800"])
async def test_names_that_are_refused(name: str) -> None:
    run = Run()
    result = await run.call("write_artifact", name=name, content="x")
    assert result.is_error
    assert not run.store.objects


async def test_what_cannot_be_saved_or_read_is_told() -> None:
    run = Run()
    assert (await run.call("write_artifact", name="a", content="x" * (MAX_BYTES + 1))).is_error
    assert (await run.call("write_artifact", name="a", content="x", media_type="text\r\nX: y")).is_error
    assert (await run.call("read_artifact", name="none")).is_error
    run.store.objects["k"] = b"\xff\xfe\x00"
    run.files = [NewArtifact("b", "image/png", 3, "", "k"), NewArtifact("gone", "text/plain", 3, "", "away")]
    assert "no text" in (await run.call("read_artifact", name="b")).content
    assert "no longer" in (await run.call("read_artifact", name="gone")).content


async def test_a_store_that_is_away_means_try_again() -> None:
    run = Run()
    run.store.away = True
    with pytest.raises(OutcomeUnknown) as caught:
        await run.call("write_artifact", name="a", content="x")
    assert caught.value.retry_after == 7
