"""Scores as a person types and sees them."""

from __future__ import annotations

import pytest

from services.cli.scores import shown, value_of


@pytest.mark.parametrize("text", ["12345678.9", "0.123456789", "1000", "-3", "true", "false", "good"])
def test_a_score_is_shown_as_it_was_given(text: str) -> None:
    assert shown(value_of(text, None)) == text
