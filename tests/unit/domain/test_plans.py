"""Which models a plan allows."""

from __future__ import annotations

import pytest

from libs.domain.plans import allows


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        (None, "any/thing", True),
        ([], "any/thing", False),
        (["local/*"], "local/small", True),
        (["local/*"], "localhost/small", False),
        (["local/small"], "local/small-2", False),
        (["a/b", "local/*"], "local/deep/er", True),
        (["local/x"], "local/*", False),
    ],
)
def test_models(patterns: list[str] | None, model: str, allowed: bool) -> None:
    assert allows(patterns, model) is allowed
