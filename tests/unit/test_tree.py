"""How the tree reads: sizes of modules and functions, docstrings, names, and what no file may hold."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60  # lines
NO_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "manager", "base", "misc"}
# Hosts that serve packages: clients are configured by whoever runs them, never by a file of ours.
REGISTRIES = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "crates" + ".io")


@cache
def files() -> tuple[Path, ...]:
    """Every file that git tracks, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    return tuple(path for name in listed if (path := ROOT / name).is_file())


def modules() -> list[Path]:
    return [path for path in files() if path.suffix == ".py"]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_module_is_too_long() -> None:
    long = {str(path): n for path in modules() if (n := len(path.read_text().splitlines())) > LONGEST_MODULE}
    assert not long


def test_no_function_is_too_long() -> None:
    long = [
        f"{path}:{function.lineno} {function.name}"
        for path in modules()
        for function in functions(ast.parse(path.read_text()))
        if (function.end_lineno or 0) - function.lineno >= LONGEST_FUNCTION
    ]
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path)
        for path in modules()
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_no_module_is_named_after_nothing() -> None:
    assert not [str(path) for path in modules() if path.stem in NO_NAMES or path.parent.name in NO_NAMES]


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_file_names_a_package_registry(host: str) -> None:
    assert not [str(path) for path in files() if host.encode() in path.read_bytes()]
