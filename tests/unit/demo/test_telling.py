"""What the demo's screen says of events."""

from __future__ import annotations

from deploy.demo.telling import told


def test_a_tool_that_fails_is_told_of() -> None:
    """Attempts that fail one after another must not look like a run that stands still."""
    data = {"turn": 3, "index": 0, "attempt": 2, "code": "outcome_unknown", "message": "The store [dim] is away."}
    line = told({"seq": 9, "type": "tool.failed", "at": "2026-11-23T21:00:00Z", "data": data})
    assert line is not None
    assert "call 1 of turn 3, attempt 2" in line
    assert "is away" in line
    assert "The store [dim]" not in line  # markup of others is none of ours
