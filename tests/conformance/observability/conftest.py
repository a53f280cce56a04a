"""The receiver, and workers that send their traces to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.observability.receiver import ReceiverOfTraces, receiver_of_traces


@pytest.fixture
def receiving() -> Iterator[tuple[ReceiverOfTraces, str]]:
    with receiver_of_traces() as started:
        yield started
