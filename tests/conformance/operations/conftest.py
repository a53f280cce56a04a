"""One installation for the procedures that change it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.operations.installation import Installation


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    directory = Path(tempfile.mkdtemp(prefix="agent-runtime-operations-"))
    directory.chmod(0o711)  # PostgreSQL, as another user, enters it
    try:
        with Installation(directory) as started:
            asyncio.run(started.make_tenant())
            yield started
    finally:
        shutil.rmtree(directory, ignore_errors=True)
