"""The breaker around Redis."""

from __future__ import annotations

import time

import pytest

from libs.clients.breaker import Breaker


def test_it_opens_probes_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    breaker = Breaker(failures=2, pause=1, longest=3)
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert breaker.open
    assert not breaker.allows()
    now += 1.1
    assert breaker.allows()
    assert not breaker.allows(), "one probe at a time"
    breaker.failed()
    now += 1.1
    assert not breaker.allows(), "the pause grows"
    now += 1
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert not breaker.open
