"""Conversations that every call is made of: ask with retries, read a result, walk pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from agent_runtime.failures import AnswerNotUnderstood, ApiUnreachable
from agent_runtime.messages import Reply, Request
from agent_runtime.models import Document
from agent_runtime.retry import AGAIN, Pauses, Retry
from agent_runtime.steps import AskToken, Conversation, Emit, Flow, Flowing, Plan, Send, TransportFailed, Wait

T = TypeVar("T")
D = TypeVar("D", bound=Document)


def deliver(request: Request, retry: Retry, *, stream: bool = False) -> Conversation[Reply]:
    """Send until there is an answer that settles it.

    Returns a 2xx, raises the `ApiProblem` of any other, `ApiUnreachable` when none came within the bounds of `retry`.
    """
    pauses = Pauses(retry)
    while True:
        try:
            reply = yield from authenticated(request, stream)
        except TransportFailed as failure:
            pause = pauses.next()
            if pause is None:
                raise ApiUnreachable(str(failure)) from None
        else:
            if 200 <= reply.status < 300:
                return reply
            problem = reply.problem()
            again = reply.status in AGAIN or problem.code == "idempotency_key_in_use"
            pause = pauses.next(reply.retry_after) if again else None
            if pause is None:
                raise problem
        yield Wait(pause)


def authenticated(request: Request, stream: bool) -> Conversation[Reply]:
    """Send once with the token; after a 401 once more with a fresh one, where there is a way to get it."""
    token = yield AskToken()
    reply: Reply = yield Send(signed(request, token), stream)
    if reply.status == 401:
        fresh = yield AskToken(again=True)
        if fresh is not None:
            reply = yield Send(signed(request, fresh), stream)
    return reply


def signed(request: Request, token: str | None) -> Request:
    return request if token is None else request.having(Authorization=f"Bearer {token}")


def ask(request: Request, read: Callable[[Any], T]) -> Plan[T]:
    """A request whose JSON answer becomes a result."""

    def converse(retry: Retry) -> Conversation[T]:
        reply = yield from deliver(request, retry)
        return read(reply.json())

    return Plan(converse)


def tell(request: Request) -> Plan[None]:
    """A request whose answer holds nothing."""

    def converse(retry: Retry) -> Conversation[None]:
        yield from deliver(request, retry)

    return Plan(converse)


def walk(request: Request, kind: type[D], cursor: str = "cursor") -> Flow[D]:
    """Every item of a list, page by page, as the caller goes on."""

    def converse(retry: Retry) -> Flowing[D]:
        page, following = request, None
        while True:
            reply = yield from deliver(page, retry)
            items, after = _page(reply.json())
            for item in items:
                yield Emit(kind.received(item))
            if after is None or after == following:
                return
            following = after
            kept = tuple(pair for pair in request.params if pair[0] != cursor)
            page = replace(request, params=(*kept, (cursor, after)))

    return Flow(converse)


def _page(document: Any) -> tuple[list[Any], str | None]:
    if not isinstance(document, dict) or not isinstance(document.get("items"), list):
        raise AnswerNotUnderstood(
            "the answer is not a page of a list; check that the URL is that of Agent Runtime's API"
        )
    after = document.get("next_cursor")
    return document["items"], None if after is None else str(after)


def silently(flow: Flowing[T], take: Callable[[T], object] = id) -> Conversation[None]:
    """Go through a flow inside a conversation: its items go to `take` instead of to a caller."""
    move: Callable[[], Any] = partial(next, flow)
    while True:
        try:
            step = move()
        except StopIteration:
            return
        if isinstance(step, Emit):
            take(step.item)
            move = partial(next, flow)
            continue
        try:
            move = partial(flow.send, (yield step))
        except TransportFailed as failure:
            move = partial(flow.throw, failure)
