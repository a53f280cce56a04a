"""What every step works with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from libs.clients.object_store import ObjectStore
from libs.clients.openai import Models
from libs.contracts.live import Delta
from libs.domain.runs import Price
from services.worker.journal import Journal, View
from services.worker.liveness import Liveness
from services.worker.observing import Observer
from services.worker.prices import PriceBook
from services.worker.vault import Vault


class Deltas(Protocol):
    """Where pieces of answers go; never waits, never fails."""

    def delta(self, tenant_id: UUID, run_id: UUID, delta: Delta) -> None: ...


@dataclass(frozen=True)
class Workbench:
    """Made once, in the worker's main module."""

    journal: Journal
    models: Models
    prices: PriceBook
    liveness: Liveness
    objects: ObjectStore
    deltas: Deltas
    vault: Vault
    observer: Observer
    slice_seconds: float
    model_attempts: int

    def price_of(self, view: View) -> Price | None:
        """What the run's model costs now."""
        return self.prices.of(view.version.spec.provider, view.version.spec.model_name)

    def price_opened_at(self, view: View, attempt: int) -> Price | None:
        """What it cost when this attempt at the coming turn was opened, as the log and the ledger say."""
        for known in view.log.attempts:
            if known.number == attempt and known.priced:
                return known.price
        return self.price_of(view)


class Slice:
    """How long a step may go on by itself. Tools and the platform count against it, the model's time does not."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        return self._end - time.monotonic()

    @property
    def open(self) -> bool:
        return self.remaining > 0

    @contextmanager
    def not_counted(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._end += time.monotonic() - began
