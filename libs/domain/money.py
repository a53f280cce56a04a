"""How amounts of USD are written."""

from __future__ import annotations

from decimal import Decimal


def plain(amount: Decimal) -> str:
    """A plain decimal without an exponent or trailing zeros."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
