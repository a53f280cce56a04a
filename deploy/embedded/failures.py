"""What can go wrong with a stack; every text says what happened and what to do."""

from __future__ import annotations


class StackFailure(Exception):
    """The stack cannot do what was asked."""


class StateRefused(StackFailure):
    """The state directory cannot be used."""


class AlreadyRunning(StateRefused):
    """Another process keeps a stack on this state directory."""


class NotRunning(StateRefused):
    """Nothing keeps a stack on this state directory."""


class StartFailed(StackFailure):
    """Something did not become ready."""


class ProgramNotFound(StackFailure):
    """A server's program is nowhere to be found."""


class UnknownRole(StackFailure):
    """The platform has no such role."""
