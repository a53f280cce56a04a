"""Stands in for `docker` in a procedure: asks the installation under test what a command is here, and does that."""

from __future__ import annotations

import json
import os
import socket
import sys

SOCKET = "OPERATIONS_SOCKET"


def main(arguments: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(os.environ[SOCKET])
        asked.sendall(json.dumps(arguments).encode() + b"\n")
        answer = json.loads(asked.makefile("r").readline())
    if "argv" in answer:
        os.execvpe(answer["argv"][0], answer["argv"], answer["environment"])  # noqa: S606 - a test's own command
    sys.stderr.write(answer["said"])
    return int(answer["code"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
