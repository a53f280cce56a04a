"""Following a run's events over as many connections as it takes: each durable event once, in order."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from agent_runtime.delivery import deliver
from agent_runtime.event_stream import EventStreamDecoder, Message
from agent_runtime.failures import AnswerNotUnderstood, StreamBroken
from agent_runtime.messages import get
from agent_runtime.models import Delta, Event, Run
from agent_runtime.retry import Pauses, Retry
from agent_runtime.steps import Conversation, Emit, Flow, Flowing, Read, TransportFailed, Wait

SILENCE = 45.0  # seconds without a byte; the API sends a comment every 15
LIVELY = 3  # a connection that brought so many pieces was alive, even if no event was among them
RECONNECT = 1.0  # seconds, unless the stream names its own


class EventMissing(Exception):
    """The stream skipped a sequence number; asking again from the last one brings it."""


@dataclass
class Position:
    """How far a reader has come; decides what is new."""

    seq: int = 0
    finished: bool = False
    attempt: tuple[int, int] = (0, 0)  # turn and attempt in progress; older deltas are void
    pieces: int = 0  # deltas of that attempt already seen

    def take(self, message: Message) -> Event | Delta | None:
        """The item to hand on, or None for what was seen before or is void. Raises `EventMissing`."""
        document = _json(message)
        if message.event == "delta":
            return self._delta(Delta.received(document))
        if message.id is None:
            return None  # a kind of live message that this version does not know
        return self._event(Event.received(document))

    def _event(self, event: Event) -> Event | None:
        if event.seq <= self.seq:
            return None
        if event.seq != self.seq + 1:
            raise EventMissing
        self.seq, self.finished = event.seq, event.terminal
        if event.type.startswith("model."):
            self._move(event)
        return event

    def _move(self, event: Event) -> None:
        turn, attempt = event.data.get("turn"), event.data.get("attempt", 1)
        if isinstance(turn, int) and isinstance(attempt, int):
            ended = {"model.failed": (turn, attempt + 1), "model.completed": (turn + 1, 0)}
            self._begin(ended.get(event.type, (turn, attempt)))

    def _begin(self, attempt: tuple[int, int]) -> None:
        if attempt > self.attempt:
            self.attempt, self.pieces = attempt, 0

    def _delta(self, delta: Delta) -> Delta | None:
        self._begin((delta.turn, delta.attempt))
        if (delta.turn, delta.attempt) < self.attempt or delta.index < self.pieces or self.finished:
            return None
        self.pieces = delta.index + 1
        return delta


def follow_run(run_id: str, after: int = 0, deltas: bool = True) -> Flow[Event | Delta]:
    """Follow a run until it ends: its durable events after `after`, each once and in order, live deltas between.

    Reconnects by itself with the last event's id. A delta is text of a model call in progress: it may be missing, and
    is void once its turn is completed (`model.completed` has the whole text) or a later attempt of the turn begins.
    Ends after the terminal event. Stop early by leaving the loop.

    Raises `NotFound` and other `ApiProblem`s when the API declines, `ApiUnreachable` when no connection can be made
    (for ten minutes, once the stream was open), `StreamBroken` when connections bring nothing for as long.
    """

    def converse(retry: Retry) -> Flowing[Event | Delta]:
        position = Position(after)
        patience, silent = retry, Pauses(retry.patient())
        while not position.finished:
            decoder, before = EventStreamDecoder(), position.seq
            try:
                yield from _listen(run_id, position, decoder, patience, deltas)
                if position.seq == before and (yield from _nothing_left(run_id, position, retry)):
                    return
            except (TransportFailed, EventMissing):
                pass  # the next connection goes on from the last event
            if position.finished:
                return
            patience = retry.patient()
            quiet = position.seq == before and decoder.chunks < LIVELY
            yield Wait(_pause(silent, quiet, decoder.retry))

    return Flow(converse)


def _pause(silent: Pauses, quiet: bool, asked: float | None) -> float:
    """Seconds before the next connection: what the stream asked for, and more each time it brings nothing."""
    if not quiet:
        silent.reset()
    backoff = silent.next() if quiet else 0.0
    if backoff is None:
        raise StreamBroken("the API answers, but its stream brings nothing; look at the run itself and follow it again")
    wished = RECONNECT if asked is None else asked
    return wished * random.uniform(0.5, 1.0) + backoff  # noqa: S311 - jitter, not a secret


def _listen(
    run_id: str, position: Position, decoder: EventStreamDecoder, retry: Retry, deltas: bool
) -> Flowing[Event | Delta]:
    """One connection, until the terminal event or its end."""
    request = get("runs", run_id, "events", params=[("after", position.seq)], read_timeout=SILENCE)
    request = request.having(Accept="text/event-stream", Cache_Control="no-store", Last_Event_ID=str(position.seq))
    reply = yield from deliver(request, retry, stream=True)
    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
        raise AnswerNotUnderstood(
            "the answer is not an event stream; check that the URL is that of Agent Runtime's API"
        )
    while chunk := (yield Read()):
        for message in decoder.feed(chunk):
            item = position.take(message)
            if item is not None and (deltas or isinstance(item, Event)):
                yield Emit(item)
            if position.finished:
                return


def _nothing_left(run_id: str, position: Position, retry: Retry) -> Conversation[bool]:
    """Whether the run had ended at or before the event from which it is followed."""
    reply = yield from deliver(get("runs", run_id), retry.patient())
    run = Run.received(reply.json())
    return run.finished and run.last_seq <= position.seq


def _json(message: Message) -> Any:
    try:
        return json.loads(message.data)
    except ValueError:
        raise AnswerNotUnderstood(f"an event of the stream ({message.event}) does not hold JSON") from None
