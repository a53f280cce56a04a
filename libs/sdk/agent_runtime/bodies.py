"""Bodies of uploads: of known size and digest, and readable again for a retry."""

from __future__ import annotations

import hashlib
import mimetypes
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Self

from agent_runtime.failures import Unusable

PIECE = 64 * 1024
IN_MEMORY = 1024 * 1024  # bytes; a longer stream is kept in a temporary file


@dataclass
class Body:
    """A source of bytes with what the API wants to know of it; close it to drop its temporary file."""

    name: str
    media_type: str
    size: int
    sha256: str
    source: Path | bytes | IO[bytes]

    def pieces(self) -> Iterator[bytes]:
        """The content from its beginning."""
        if isinstance(self.source, bytes):
            yield from (self.source[at : at + PIECE] for at in range(0, len(self.source), PIECE))
            return
        with self.source.open("rb") if isinstance(self.source, Path) else nullcontext(self.source) as file:
            file.seek(0)
            while piece := file.read(PIECE):
                yield piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not isinstance(self.source, Path | bytes):
            self.source.close()


def body_of(source: str | Path | bytes | BinaryIO, name: str | None, media_type: str | None) -> Body:
    """Measure a source. Raises `Unusable` for one without a name, `OSError` for one that cannot be read."""
    kept: Path | bytes | IO[bytes]
    if isinstance(source, str | Path):
        kept = Path(source)
        name = name or kept.name
    elif isinstance(source, bytes):
        kept = source
    else:
        kept = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - `Body` closes it
        shutil.copyfileobj(source, kept)
    if not name:
        raise Unusable("give the artifact a name; bytes and streams have none of their own")
    guessed = media_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    body = Body(name, guessed, 0, "", kept)
    digest = hashlib.sha256()
    for piece in body.pieces():
        digest.update(piece)
        body.size += len(piece)
    body.sha256 = digest.hexdigest()
    return body
