"""The log as this worker knows it: read from where it was left, committed with patience."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from libs.clients.object_store import ObjectStore
from libs.database import steps, storage
from libs.database.engine import Database, is_unavailable
from libs.database.steps import Change, ClosedCall, Committed, LoadedRun
from libs.domain.errors import DependencyUnavailable
from libs.domain.events import Event, NewEvent
from libs.domain.run_log import RunLog
from libs.domain.runs import RunState
from libs.domain.texts import LARGE
from services.worker.keys import RunKey
from services.worker.liveness import suspended_clock
from services.worker.specs import Specs, Version
from services.worker.wakes import Live, Wakes

logger = logging.getLogger(__name__)
CACHED_RUNS = 512
PATIENCE = 300.0  # seconds to keep a paid answer while the database is away
INLINE_AT_MOST = 4 * 1024 * 1024  # bytes of a value that stays inline while the object store is away


class Counting(Protocol):
    """Hears of what was committed here; never fails."""

    def committed(self, view: View, change: Change) -> None: ...

    def settled(self, view: View, closed: ClosedCall) -> None: ...


class RunVanished(Exception):
    """There is no such run: it was deleted."""


@dataclass
class _Known:
    """What is cached of a run: its log is append-only, so what is known stays true."""

    log: RunLog
    version: Version
    created_by: str
    input: Any
    state: RunState | None = None  # as it was last read or written here, at `read_at`
    read_at: float = 0.0


@dataclass(frozen=True)
class View:
    """A run at one moment. The log is shared and grows; the state is of `read_at`, by `suspended_clock`."""

    run: RunKey
    log: RunLog
    state: RunState
    version: Version
    created_by: str
    input: Any
    read_at: float

    @property
    def now(self) -> RunState:
        """The state, with the time that has passed since."""
        return replace(self.state, now=self.state.now + timedelta(seconds=suspended_clock() - self.read_at))

    def after(self, committed: Committed, change: Change) -> View:
        """The view after a commit of mine, without reading it again."""
        state = self.now
        closed = change.closed
        return replace(
            self,
            read_at=suspended_clock(),
            state=replace(
                state,
                status=change.status or state.status,
                desired=committed.desired,
                control_seq=committed.control_seq,
                last_seq=committed.last_seq,
                turn=change.turn or state.turn,
                started=state.started or change.started,
                tokens=state.tokens + (closed.usage.input_tokens + closed.usage.output_tokens if closed else 0),
                cost=state.cost + (closed.cost if closed else 0),
            ),
        )


class Journal:
    """Reads and commits runs for this worker."""

    def __init__(self, database: Database, objects: ObjectStore, specs: Specs, live: Live, counting: Counting) -> None:
        self._database = database
        self._objects = objects
        self._specs = specs
        self.wakes = Wakes(live)
        self._counting = counting
        self._known: OrderedDict[RunKey, _Known] = OrderedDict()

    async def load(self, run: RunKey) -> View:
        """The run as it stands.

        Raises:
            RunVanished: it is gone.
            UnknownEvent: its log is newer than this worker.
            DependencyUnavailable: a large value of its log cannot be read now.
        """
        known = self._known.get(run)
        loaded = await self._read(run, known.log.last_seq if known else 0)
        if known is None:
            known = await self._meet(run, loaded)
        for event, refs in loaded.events:
            known.log.apply(replace(event, data=await self._whole(event.data, refs)) if refs else event)
        self._remember(run, known)
        return self._view(run, known, loaded)

    async def begin(self, run: RunKey, decide: Callable[[View], Change | None]) -> View:
        """The run as it stands, after what `decide` made of it was committed.

        What this worker remembers is tried first: whether the run still stands so is for the commit to say. `decide` is
        not asked when something else has to be read first, nor is its change committed when its fence does not hold:
        the view says what is true.
        """
        remembered = self._remembered(run)
        change = decide(remembered) if remembered else None
        if remembered is None or change is None:
            return await self._read_and_begin(run, decide)
        async with self._database.single() as connection:
            found = await steps.commit_or_load(connection, run.tenant_id, run.run_id, change, remembered.state)
        if isinstance(found, Committed):
            return await self._committed(remembered, change, found)
        return self._at_hand(run, self._known.get(run), found) or await self.load(run)

    def _remembered(self, run: RunKey) -> View | None:
        """The run as this worker knows it, which may be out of date."""
        known = self._known.get(run)
        if known is None or known.state is None or known.state.last_seq != known.log.last_seq:
            return None
        view = View(run, known.log, known.state, known.version, known.created_by, known.input, known.read_at)
        return replace(view, state=view.now, read_at=suspended_clock())

    async def _read_and_begin(self, run: RunKey, decide: Callable[[View], Change | None]) -> View:
        async with self._database.single() as connection:
            known = self._known.get(run)
            loaded = await steps.load(connection, run.tenant_id, run.run_id, known.log.last_seq if known else 0)
            known = known or self._met_before(run, loaded)
            view = self._at_hand(run, known, loaded)
            change = decide(view) if view else None
            if view is None or change is None:
                committed = None
            else:
                committed = await steps.commit(connection, run.tenant_id, run.run_id, change)
        if view is None or change is None or committed is None:
            return view if view is not None and change is None else await self.load(run)
        return await self._committed(view, change, committed)

    def _at_hand(self, run: RunKey, known: _Known | None, loaded: LoadedRun | None) -> View | None:
        """The view, if nothing else has to be read for it."""
        if loaded is None or known is None or any(refs for _, refs in loaded.events):
            return None
        for event, _ in loaded.events:
            known.log.apply(event)
        self._remember(run, known)
        return self._view(run, known, loaded)

    def _met_before(self, run: RunKey, loaded: LoadedRun | None) -> _Known | None:
        """A run that can be known without reading anything else."""
        if loaded is None or loaded.input_object is not None:
            return None
        version = self._specs.known(run.tenant_id, loaded.agent_id, loaded.version)
        return _Known(RunLog(), version, loaded.created_by, json.loads(loaded.input or "null")) if version else None

    def _view(self, run: RunKey, known: _Known, loaded: LoadedRun) -> View:
        view = View(run, known.log, loaded.state, known.version, known.created_by, known.input, suspended_clock())
        known.state, known.read_at = view.state, view.read_at
        return view

    async def commit(self, view: View, change: Change) -> View | None:
        """Commit a step. None when its fence did not hold or its effect is recorded: load and decide again.

        A commit whose answer was lost is tried again; if it was there, its keys say so.
        """
        give_up = time.monotonic() + PATIENCE
        pause = 0.1
        while True:
            try:
                async with self._database.single() as connection:
                    committed = await steps.commit(connection, view.run.tenant_id, view.run.run_id, change)
                break
            except steps.EffectTaken:
                return None
            except Exception as error:
                if not is_unavailable(error) or time.monotonic() > give_up:
                    raise
                logger.warning("a commit waits: the database is away", extra={"run_id": str(view.run.run_id)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
        if committed is None:
            return None
        return await self._committed(view, change, committed)

    async def _committed(self, view: View, change: Change, committed: Committed) -> View:
        self.wakes.committed(view.run, change.events, committed.last_seq)
        self._counting.committed(view, change)
        return await self._advance(view, change, committed)

    async def _advance(self, view: View, change: Change, committed: Committed) -> View:
        first = committed.last_seq - len(change.events) + 1
        if first != view.log.last_seq + 1:  # somebody else wrote too: read the difference
            return await self.load(view.run)
        now = datetime.now(UTC)
        for position, event in enumerate(change.events):
            view.log.apply(Event(first + position, event.type, event.whole, now))
        after = view.after(committed, change)
        if (known := self._known.get(view.run)) is not None and known.log is view.log:
            known.state, known.read_at = after.state, after.read_at
        return after

    async def settle(self, view: View, closed: ClosedCall) -> None:
        """Settle the ledger of a call whose commit lost."""
        async with self._database.single() as connection:
            await steps.settle(connection, view.run.tenant_id, view.run.run_id, closed)
        self._counting.settled(view, closed)

    async def has_room(self, run: RunKey, size: int) -> bool:
        """Whether the tenant's plan allows so many bytes more of artifacts."""
        async with self._database.tenant(run.tenant_id) as connection:
            room = await storage.room(connection, run.tenant_id)
        return room is None or size <= room

    async def new_ids(self, run: RunKey, count: int) -> list[UUID]:
        async with self._database.tenant(run.tenant_id) as connection:
            return await steps.new_ids(connection, count)

    async def store_large(self, run: RunKey, event: NewEvent, name: str, place: str) -> NewEvent:
        """The event with its field `name` moved to the object store if it is large, under a key of this attempt.

        With the store away, the text stays inline.
        """
        text = event.data[name]
        if len(text) * 4 <= LARGE or len(encoded := text.encode()) <= LARGE:
            return event
        ref = await self.put_large(run, place, encoded, "text/plain; charset=utf-8")
        if ref is None:
            return event
        return replace(event, data=event.data | {name: None}, refs={f"/{name}": ref}, moved={name: text})

    async def put_large(self, run: RunKey, place: str, body: bytes, media_type: str) -> dict[str, Any] | None:
        """Store a large value; None when the store is away and the value may stay inline.

        Raises:
            DependencyUnavailable: the store stays away and the value is too large to stay inline.
        """
        key = f"{run.tenant_id}/{run.run_id}/{place}"
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                await self._objects.put(key, body, media_type)
                break
            except DependencyUnavailable:
                if len(body) <= INLINE_AT_MOST:
                    return None
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(1)
        return {"key": key, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    def forget(self, run: RunKey) -> None:
        """The run has ended."""
        self._known.pop(run, None)

    async def _read(self, run: RunKey, after: int) -> LoadedRun:
        async with self._database.single() as connection:
            loaded = await steps.load(connection, run.tenant_id, run.run_id, after)
        if loaded is None:
            raise RunVanished(f"run {run.run_id} does not exist")
        return loaded

    async def _meet(self, run: RunKey, loaded: LoadedRun) -> _Known:
        version = await self._specs.get(run.tenant_id, loaded.agent_id, loaded.version)
        text = loaded.input
        if loaded.input_object is not None:
            text = (await self._objects.get(loaded.input_object["key"])).decode()
        return _Known(RunLog(), version, loaded.created_by, json.loads(text or "null"))

    async def _whole(self, data: dict[str, Any], refs: dict[str, dict[str, Any]] | None) -> dict[str, Any]:
        """The event's data with its large values back in place; only top-level texts are ever moved."""
        values = {p.strip("/"): (await self._objects.get(ref["key"])).decode() for p, ref in (refs or {}).items()}
        return data | values

    def _remember(self, run: RunKey, known: _Known) -> None:
        current = self._known.setdefault(run, known)
        if current is not known and current.log.last_seq < known.log.last_seq:
            self._known[run] = known
        self._known.move_to_end(run)
        while len(self._known) > CACHED_RUNS:
            self._known.popitem(last=False)
