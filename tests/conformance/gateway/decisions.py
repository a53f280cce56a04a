"""The decisions of Kong's plugins, asked of their own Lua."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.fixtures.kong.rendering import KONG, LUA

VERDICT, ANSWERS = "keycloak-jwt.verdict", "problem-details.answers"


class Decisions:
    """A process of Lua that answers calls, one at a time."""

    def __init__(self) -> None:
        if LUA is None:
            raise RuntimeError("the decisions of the plugins need luajit (Debian: apt-get install luajit lua-cjson)")
        self._process = subprocess.Popen(
            [LUA, str(Path(__file__).with_name("decide.lua")), str(KONG)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()

    def ask(self, module: str, function: str, *arguments: Any) -> list[Any]:
        """The first three results, with None for nil."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("Lua was started without pipes")
        with self._turn:
            self._process.stdin.write(json.dumps([module, function, *arguments]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{module}.{function} failed; its complaint is on standard error")
        results: list[Any] = json.loads(answer)
        return results

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
