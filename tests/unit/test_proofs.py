"""docs/correctness.md names modules and tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/correctness.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`((?:\w+/)+test_\w+\.py)(?:::(\w+))?`(?: \(([^)]*)\))?", TABLE)))
MODULES = sorted(set(re.findall(r"`((?:services|libs|deploy|migrations|kong|keycloak)/[\w/.]+\.\w+)`", TABLE)))


def test_the_table_names_tests_and_modules() -> None:
    assert len(TESTS) > 50
    assert len(MODULES) > 20


@pytest.mark.parametrize(("file", "test", "more"), TESTS)
def test_a_named_test_is_there(file: str, test: str, more: str) -> None:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    named = {test} if test else set()
    assert named | set(re.findall(r"`(test_\w+)`", more)) <= there


@pytest.mark.parametrize("module", MODULES)
def test_a_named_module_is_there(module: str) -> None:
    assert (ROOT / module).exists()
