"""The failure by which a step asks Temporal to be tried again."""

from __future__ import annotations


class TryAgain(Exception):
    """The provider or the tool failed; Temporal is to try this step again after so many seconds."""

    def __init__(self, code: str, message: str, after: float) -> None:
        super().__init__(message)
        self.code = code
        self.after = after
