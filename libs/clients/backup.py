"""`python -m libs.clients.backup save|load DIRECTORY`: copies every object of S3_BUCKET into files, and back.

Save after the database was dumped: objects are written before the row that names them and never changed, so that a
later copy holds all that an earlier dump names. Both may be ended and run again; what is there is not copied twice.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from urllib.parse import quote, unquote

from libs.clients.object_store import DELETE_BATCH, ObjectStore
from libs.domain.errors import DependencyUnavailable, NotFound
from libs.settings.object_store import ObjectStoreSettings

MEDIA_TYPE = "application/octet-stream"  # a file's own stands in its row
UNFINISHED = ".part"


async def keys(store: ObjectStore) -> AsyncGenerator[str, None]:
    last = ""
    while listed := await store.listed("", after=last):
        for each in listed:
            yield each.key
        if len(listed) < DELETE_BATCH:
            return
        last = listed[-1].key


def file_of(directory: Path, key: str) -> Path:
    """Every part of a key is one name: none can lead out of the directory."""
    return directory.joinpath(*(quote(part, safe="").replace(".", "%2E") for part in key.split("/")))


def key_of(directory: Path, file: Path) -> str:
    return "/".join(unquote(part) for part in file.relative_to(directory).parts)


async def save(store: ObjectStore, directory: Path) -> int:
    """How many objects were copied. One that is erased meanwhile is no object any more."""
    copied = 0
    async with aclosing(keys(store)) as found:
        async for key in found:
            file = file_of(directory, key)
            if file.exists():
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_name(file.name + UNFINISHED)
            try:
                content = await store.get(key)
            except NotFound:
                continue
            with draft.open("wb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())  # a file that is there counts as copied from now on
            draft.rename(file)
            copied += 1
    return copied


async def load(store: ObjectStore, directory: Path) -> int:
    """How many objects were copied into the bucket."""
    async with aclosing(keys(store)) as found:
        there = {key async for key in found}
    copied = 0
    for root, _, names in os.walk(directory):
        for name in names:
            file = Path(root) / name
            key = key_of(directory, file)
            if not name.endswith(UNFINISHED) and key not in there:
                await store.put(key, file.read_bytes(), MEDIA_TYPE)
                copied += 1
    return copied


async def _run(what: str, directory: Path) -> int:
    settings = ObjectStoreSettings()
    store = ObjectStore(settings)
    try:
        count = await (save if what == "save" else load)(store, directory)
    except DependencyUnavailable as failure:
        sys.stderr.write(f"The objects of {settings.s3_bucket} cannot be copied: {failure.detail} Run it again.\n")
        return 1
    sys.stdout.write(f"{count} objects were copied {'to' if what == 'save' else 'from'} {directory}.\n")
    return 0


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("save", "load"):
        sys.stderr.write("usage: python -m libs.clients.backup save|load DIRECTORY\n")
        return 2
    directory = Path(arguments[1])
    if arguments[0] == "load" and not directory.is_dir():
        sys.stderr.write(f"{directory} is no directory.\n")
        return 2
    directory.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_run(arguments[0], directory))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
