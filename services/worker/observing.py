"""Around the steps of a run: how long each took and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from libs.clients.openai import ModelAnswer, ModelFailed
from services.worker.metering import MODEL_CALLS_NOW, STEPS, STEPS_NOW, Meter
from services.worker.trying import TryAgain

CANCELLED, FAILED, AGAIN = "cancelled", "failed", "again"


@dataclass
class Observed:
    """What is known of a piece of work when it ends; whoever does it sets `result`."""

    result: str = ""


class Observer:
    """Of one process."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    @contextmanager
    def step(self, name: str) -> Iterator[Observed]:
        """One activity. Its `result` is one of a few words."""
        observed, began = Observed(), time.monotonic()
        in_progress = STEPS_NOW.labels(name)
        in_progress.inc()
        try:
            yield observed
        except (asyncio.CancelledError, TryAgain) as error:
            observed.result = AGAIN if isinstance(error, TryAgain) else CANCELLED
            raise
        except BaseException:
            observed.result = FAILED
            raise
        finally:
            in_progress.dec()
            STEPS.labels(name, observed.result).observe(time.monotonic() - began)

    @contextmanager
    def model_call(self, provider: str, model: str, answer: ModelAnswer) -> Iterator[None]:
        """One request to a provider; what was never sent has no duration."""
        began, error, sent = time.monotonic(), "", True
        MODEL_CALLS_NOW.inc()
        try:
            yield
        except asyncio.CancelledError:
            error = CANCELLED
            raise
        except Exception as failed:
            error = str(getattr(failed, "code", FAILED))
            sent = not isinstance(failed, ModelFailed) or failed.sent
            raise
        finally:
            MODEL_CALLS_NOW.dec()
            if sent:
                to_first = None if answer.first_at is None else answer.first_at - began
                self._meter.asked(provider, model, time.monotonic() - began, to_first, error)

    @contextmanager
    def tool_call(self, tool: object, effect: str) -> Iterator[Observed]:
        """One attempt at a call."""
        observed, began = Observed(CANCELLED), time.monotonic()
        try:
            yield observed
        finally:
            kind = getattr(tool, "kind", "own")
            self._meter.called(kind, effect, time.monotonic() - began, observed.result)
