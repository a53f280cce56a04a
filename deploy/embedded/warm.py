"""Imports a program while the servers that it needs are still starting, and runs it when a line on stdin says so."""

from __future__ import annotations

import importlib
import runpy
import sys


def main(module: str) -> None:
    importlib.import_module(module)
    if sys.stdin.readline() == "":
        sys.exit("what was to start this program has ended")
    # All it imports stays; the module itself is run anew, under its own name.
    del sys.modules[module]
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
