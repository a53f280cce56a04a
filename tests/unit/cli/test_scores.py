"""Scores as a person types and sees them."""

from __future__ import annotations

import pytest
import typer

from services.cli.scores import Kind, shown, value_of


@pytest.mark.parametrize("text", ["12345678.9", "0.123456789", "1000", "-3", "true", "false", "good"])
def test_a_score_is_shown_as_it_was_given(text: str) -> None:
    assert shown(value_of(text, None)) == text


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1_000", "1e999", "0x10", "٣"])
def test_what_json_has_no_number_for_is_a_category(text: str) -> None:
    assert value_of(text, None) == text
    with pytest.raises(typer.BadParameter, match="no number"):
        value_of(text, Kind.NUMBER)
