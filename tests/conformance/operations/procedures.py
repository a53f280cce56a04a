"""The commands of docs/operations.md, as they stand there: a block of shell with a name is what a person types."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


def procedures() -> dict[str, str]:
    """Each named block by its name: ```sh NAME."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(r"^```sh ([a-z-]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return dict(found)
