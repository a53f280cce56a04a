"""`python -m libs.settings.files OWNER DIRECTORY SCRATCH…`: variables `FILE_X` become files `x` of OWNER in DIRECTORY.

For places that hand out secrets as variables only, to programs that read certificates from files. It runs as root,
once, before them; each SCRATCH is a directory that everybody may then write to, as `/tmp` is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PREFIX = "FILE_"
PRIVATE = "PRIVATE KEY"


def write(variables: Mapping[str, str], directory: Path, owner: int) -> list[Path]:
    """The files; a private key is readable for its owner alone. A variable that is empty is left out."""
    written = []
    for name, content in sorted(variables.items()):
        if not name.startswith(PREFIX) or not content:
            continue
        path = directory / name.removeprefix(PREFIX).lower()
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="utf-8") as file:
            file.write(content if content.endswith("\n") else content + "\n")
        os.chown(path, owner, -1)
        if PRIVATE not in content:
            path.chmod(0o444)  # programs of several users stand on it
        written.append(path)
    return written


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or not arguments[0].isdigit():
        sys.stderr.write("usage: python -m libs.settings.files OWNER DIRECTORY SCRATCH…\n")
        return 2
    owner, directory, *scratch = arguments
    for path in write(os.environ, Path(directory), int(owner)):
        sys.stdout.write(f"{path}\n")
    Path(directory).chmod(0o755)
    for each in scratch:
        Path(each).chmod(0o1777)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
