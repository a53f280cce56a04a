"""Receiving an artifact's content: resumed by range where a connection broke, kept only when its SHA-256 is right."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from agent_runtime.delivery import deliver
from agent_runtime.failures import ApiUnreachable, DigestMismatch
from agent_runtime.messages import Reply, get
from agent_runtime.models import Artifact
from agent_runtime.retry import Pauses, Retry
from agent_runtime.steps import Conversation, Emit, Flowing, Read, TransportFailed, Wait


class Content:
    """How much of an artifact has arrived, and its digest so far."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.offset = 0
        self._digest = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self.offset += len(chunk)
        self._digest.update(chunk)

    def verify(self) -> None:
        """Raises `DigestMismatch` unless this is what the API has stored."""
        if self.offset != self.artifact.size or self._digest.hexdigest() != self.artifact.sha256:
            raise DigestMismatch(f"the content of artifact {self.artifact.id} arrived damaged; download it again")


def receive(content: Content, retry: Retry, keep: Callable[[bytes], Iterable[Emit[bytes]]]) -> Flowing[bytes]:
    """Bring what is missing, giving every piece to `keep`, and verify the whole.

    Raises `ApiUnreachable` when connections bring nothing more within the bounds of `retry`.
    """
    pauses = Pauses(retry)
    while content.offset < content.artifact.size:
        before = content.offset
        try:
            reply = yield from _open(content, retry)
            ahead = content.offset if reply.status == 200 else 0  # 200: the range was ignored
            while chunk := (yield Read()):
                fresh = chunk[ahead:]
                ahead = max(0, ahead - len(chunk))
                if fresh:
                    content.add(fresh)
                    yield from keep(fresh)
        except TransportFailed:
            pass  # what arrived counts
        if content.offset > before:
            pauses.reset()
        if content.offset < content.artifact.size:
            pause = pauses.next()
            if pause is None:
                raise ApiUnreachable("the download keeps breaking off; check the network and try again")
            yield Wait(pause)
    content.verify()


def _open(content: Content, retry: Retry) -> Conversation[Reply]:
    request = get("artifacts", content.artifact.id, "content").having(Accept_Encoding="identity")
    if content.offset:
        request = request.having(Range=f"bytes={content.offset}-")
    return (yield from deliver(request, retry, stream=True))


def receive_file(artifact: Artifact, target: Path, retry: Retry) -> Flowing[bytes]:
    """Receive into a `.part` file beside the target, go on from what is there, and rename it at the end."""
    part = target.with_name(f".{target.name}.{artifact.id}.part")
    content = Content(artifact)
    with part.open("a+b") as file:
        _recount(file, content)
        try:
            yield from receive(content, retry, lambda chunk: _write(file, chunk))
        except DigestMismatch:
            part.unlink()
            raise
    os.replace(part, target)


def _recount(file: BinaryIO, content: Content) -> None:
    """Count what an earlier download left; more than the artifact holds is not of it."""
    file.seek(0)
    if os.fstat(file.fileno()).st_size > content.artifact.size:
        file.truncate()
    while chunk := file.read(64 * 1024):
        content.add(chunk)


def _write(file: BinaryIO, chunk: bytes) -> tuple[Emit[bytes], ...]:
    file.write(chunk)
    return ()


def target_of(artifact: Artifact, to: str | Path) -> Path:
    """Where an artifact goes; its name is only trusted as a file's name, never as a path."""
    path = Path(to)
    if not path.is_dir():
        return path
    name = artifact.name.replace("\\", "/").rsplit("/", 1)[-1].strip().replace("\0", "")
    return path / (name if name not in {"", ".", ".."} else artifact.id)
