"""What a scripted model has seen: a record of every request, and the streams that wait to be released."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from deploy.demo.scripts import Usage
from deploy.demo.wire import usage_of

KEPT_RECORDS = 20_000
KEPT_BODIES = 200
KEPT_CONVERSATIONS = 100_000

State = Literal["started", "streaming", "held", "silent", "finished", "failed", "aborted"]


@dataclass
class Record:
    """One request. Times are seconds since the epoch."""

    id: int
    model: str
    turn: int
    attempt: int
    messages: int
    digest: str
    started_at: float
    stream: bool = False
    api_key: bool = False
    api_key_sha256: str = ""
    state: State = "started"
    status: int | None = None
    fault: str | None = None
    chunks_sent: int = 0
    first_chunk_at: float | None = None
    finished_at: float | None = None
    aborted_at: float | None = None
    usage: Usage | None = None
    body: bytes | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def data(self) -> dict[str, Any]:
        hidden = ("usage", "body", "released")
        plain = {name: value for name, value in vars(self).items() if name not in hidden}
        return plain | {"usage": usage_of(self.usage) if self.usage else None}


class Journal:
    """Bounded: the oldest records and counts are forgotten first."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=KEPT_RECORDS)
        self._bodies: deque[Record] = deque()
        self._attempts: OrderedDict[tuple[str, int, str], int] = OrderedDict()
        self._ids = itertools.count(1)
        self._waiters: set[asyncio.Event] = set()

    def open(self, model: str, turn: int, messages: int, digest: str, body: bytes) -> Record:
        """Record a request; its attempt is how often this very conversation was sent at this turn."""
        key = (model, turn, digest)
        attempt = self._attempts.pop(key, 0) + 1
        self._attempts[key] = attempt
        if len(self._attempts) > KEPT_CONVERSATIONS:
            self._attempts.popitem(last=False)
        record = Record(next(self._ids), model, turn, attempt, messages, digest, started_at=time.time(), body=body)
        self._bodies.append(record)
        if len(self._bodies) > KEPT_BODIES:
            self._bodies.popleft().body = None
        self._records.append(record)
        self.changed()
        return record

    def set(self, record: Record, state: State) -> None:
        record.state = state
        now = time.time()
        if state in ("finished", "failed"):
            record.finished_at = now
        elif state == "aborted":
            record.aborted_at = now
        self.changed()

    def find(self, model: str | None = None, state: str | None = None) -> list[Record]:
        return [
            record
            for record in self._records
            if (model is None or record.model == model) and (state is None or record.state == state)
        ]

    def get(self, number: int) -> Record | None:
        return next((record for record in reversed(self._records) if record.id == number), None)

    def release(self, chosen: Callable[[Record], bool]) -> int:
        """Let waiting streams go on; those that have not reached their hold yet are not meant."""
        waiting = [record for record in self._records if record.state in ("held", "silent") and chosen(record)]
        for record in waiting:
            record.released.set()
        return len(waiting)

    def forget(self) -> None:
        """Forget what is over, and every count."""
        self._records = deque(
            (r for r in self._records if r.finished_at is None and r.aborted_at is None), KEPT_RECORDS
        )
        self._attempts.clear()

    def changed(self) -> None:
        for waiter in self._waiters:
            waiter.set()

    async def wait_for(self, enough: Callable[[], bool], seconds: float) -> None:
        """Return when it is enough, or when the time is over."""
        changed = asyncio.Event()
        self._waiters.add(changed)
        deadline = time.monotonic() + seconds
        try:
            while not enough() and (left := deadline - time.monotonic()) > 0:
                changed.clear()
                try:
                    await asyncio.wait_for(changed.wait(), left)
                except TimeoutError:
                    return
        finally:
            self._waiters.discard(changed)
