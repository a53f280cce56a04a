"""What the child process of a suspect tells the worker that started it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from services.worker.activities.attended import reported
from services.worker.suspects import failure_of, told_of
from services.worker.trying import TryAgain


@pytest.mark.parametrize(
    ("error", "delay", "last"),
    [
        (TryAgain("provider_busy", "Later.", 7.5), timedelta(seconds=7.5), False),
        (RuntimeError("a prompt"), None, False),
    ],
)
def test_a_failure_arrives_as_it_was(error: Exception, delay: timedelta | None, last: bool) -> None:
    """What the provider asked for is waited for, in a child too."""
    sent = reported(error)
    arrived = failure_of(json.loads(json.dumps(told_of(sent))))
    assert (arrived.type, arrived.message, arrived.non_retryable) == (sent.type, sent.message, last)
    assert arrived.next_retry_delay == delay
    assert "a prompt" not in str(arrived)
