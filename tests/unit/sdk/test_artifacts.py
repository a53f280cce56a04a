"""Files are sent again from their beginning, received from where they broke off, and checked."""

from __future__ import annotations

import asyncio
import hashlib
import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from agent_runtime import AnswerNotUnderstood, ApiUnreachable, DigestMismatch, Unusable

from tests.unit.sdk.scripted import ScriptedApi, Stream, ok, problem

CONTENT = bytes(range(256)) * 600


def artifact(content: bytes = CONTENT, **fields: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"id": "07", "name": "a.bin", "media_type": "x/y", "size": len(content), "sha256": digest, **fields}


class FileApi(ScriptedApi):
    """Serves one artifact whose connections break after so many bytes; understands ranges unless told otherwise."""

    def __init__(self, breaks: list[int], ranges: bool = True, content: bytes = CONTENT, **fields: Any) -> None:
        super().__init__(self.serve)
        self.breaks, self.ranges, self.content, self.fields = breaks, ranges, content, fields

    def serve(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/content"):
            return ok(artifact(**self.fields))(request)
        start = int(request.headers.get("range", "bytes=0-")[6:-1]) if self.ranges else 0
        whole = self.content[start:]
        end = self.breaks.pop(0) if self.breaks else None
        status = 206 if start else 200
        return httpx.Response(
            status, stream=Stream([whole[:end][i : i + 5000] for i in range(0, len(whole), 5000)], end is not None)
        )

    def ranges_asked(self) -> list[str | None]:
        return [request.headers.get("range") for request in self.requests if request.url.path.endswith("/content")]


def test_a_download_resumes(tmp_path: Path) -> None:
    api = FileApi([1, 70_000, 0, 5])
    path = api.client().artifacts.download("07", tmp_path)
    assert path == tmp_path / "a.bin"
    assert path.read_bytes() == CONTENT
    assert api.ranges_asked() == [None, "bytes=1-", "bytes=70001-", "bytes=70001-", "bytes=70006-"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_server_without_ranges(tmp_path: Path) -> None:
    api = FileApi([100, 6000], ranges=False)
    assert api.client().artifacts.download("07", tmp_path / "b").read_bytes() == CONTENT


def test_a_download_goes_on_where_an_earlier_one_stopped(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with pytest.raises(ApiUnreachable):
        FileApi([9000, *[0] * 20]).client().artifacts.download("07", target)
    assert not target.exists()
    api = FileApi([])
    assert api.client().artifacts.download("07", target).read_bytes() == CONTENT
    assert api.ranges_asked() == ["bytes=9000-"]


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT + b"more"])
def test_other_bytes_are_not_kept(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch, match="download it again"):
        FileApi([], content=content).client().artifacts.download("07", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "safe"), [("../../etc/passwd", "passwd"), ("..", "07"), ("", "07"), ("a\\b", "b"), ("/", "07")]
)
def test_a_name_is_never_a_path(name: str, safe: str, tmp_path: Path) -> None:
    assert FileApi([], name=name).client().artifacts.download("07", tmp_path) == tmp_path / safe


def test_reading_and_streaming() -> None:
    assert FileApi([3]).client().artifacts.read("07") == CONTENT
    assert b"".join(FileApi([3]).client().artifacts.stream("07")) == CONTENT


def test_async_download(tmp_path: Path) -> None:
    async def download() -> Path:
        async with FileApi([10, 20]).async_client() as client:
            return await client.artifacts.download("07", tmp_path)

    assert asyncio.run(download()).read_bytes() == CONTENT


def received(request: httpx.Request) -> httpx.Response:
    return ok(artifact(request.content), 201)(request)


def test_uploads_from_everything(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_bytes(CONTENT)
    sources: list[Any] = [path, str(path), CONTENT, io.BytesIO(CONTENT)]
    for source in sources:
        api = ScriptedApi(httpx.ReadError("reset"), problem(503, "x"), received)
        api.client().artifacts.upload(source, name="report.txt")
        assert [request.content for request in api.requests] == [CONTENT] * 3
        assert set(api.headers("content-length")) == {str(len(CONTENT))}
        assert set(api.headers("content-type")) == {"text/plain"}
        assert len(set(api.headers("idempotency-key"))) == 1
        assert api.requests[0].url.params["name"] == "report.txt"


def test_async_upload(tmp_path: Path) -> None:
    async def upload() -> None:
        async with api.async_client() as client:
            await client.artifacts.upload(io.BytesIO(CONTENT), name="a", media_type="x/y")

    api = ScriptedApi(httpx.ReadError("reset"), received)
    asyncio.run(upload())
    assert [request.content for request in api.requests] == [CONTENT] * 2


def test_an_upload_that_was_stored_otherwise() -> None:
    with pytest.raises(DigestMismatch, match="upload it again"):
        ScriptedApi(ok(artifact(b"other"), 201)).client().artifacts.upload(CONTENT, name="a")


def test_an_upload_without_a_name() -> None:
    with pytest.raises(Unusable, match="name"):
        ScriptedApi(ok({})).client().artifacts.upload(b"x")


def test_an_upload_to_something_else() -> None:
    with pytest.raises(AnswerNotUnderstood):
        ScriptedApi(ok({})).client().artifacts.upload(b"x", name="a")
