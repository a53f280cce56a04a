"""Tests of this suite that the embedded issuer does not pass, because what they ask of an issuer it does not have."""

from __future__ import annotations

REASONS = {
    "test_a_password_is_good_for_a_token": (
        "nobody gives a program a password there: the shipped realm has no such client either, the suite adds one"
    ),
}
