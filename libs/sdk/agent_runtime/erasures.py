"""The calls about erasures."""

from __future__ import annotations

import math
import time

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, walk
from agent_runtime.messages import get, post, send
from agent_runtime.models import Erasure
from agent_runtime.retry import Retry
from agent_runtime.steps import Conversation, Flow, Plan, Wait

PAUSE = 1.0  # seconds between looks


def erase_user(user: str) -> Plan[Erasure]:
    """Erase what a user has in the operator's tenant until now: runs, files, kept answers. `user` is its `sub`.

    Runs that have not ended are cancelled. Its account, and the ids in the audit log, stay. Raises `Forbidden`.
    """
    return ask(send("DELETE", "users", user, "data"), Erasure.received)


def get_erasure(erasure_id: str) -> Plan[Erasure]:
    """One erasure. Raises `NotFound`."""
    return ask(get("erasures", erasure_id), Erasure.received)


def list_erasures(*, page_size: int = 50) -> Flow[Erasure]:
    """Newest first: of an operator's tenant, a user's own, an administrator's of whole tenants."""
    return walk(get("erasures", params=[("limit", page_size)]), Erasure)


def check_erasure(erasure_id: str, *, idempotency_key: str | None = None) -> Plan[Erasure]:
    """Have a finished erasure look again whether nothing is left; what is found is erased. Raises `NotFound`."""
    return ask(post("erasures", erasure_id, "check", key=idempotency_key), Erasure.received)


def wait_for_erasure(erasure_id: str, timeout: float | None = None) -> Plan[Erasure]:
    """Wait until an erasure is done, at most `timeout` seconds; look at `done`. Raises `NotFound`."""

    def converse(retry: Retry) -> Conversation[Erasure]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            erasure = yield from get_erasure(erasure_id).converse(retry)
            if erasure.done or time.monotonic() >= deadline:
                return erasure
            yield Wait(min(PAUSE, max(0.0, deadline - time.monotonic())))

    return Plan(converse)


class Erasures(Noun):
    """`client.erasures`"""

    erase_user = Call(erase_user)
    get = Call(get_erasure)
    list = Items(list_erasures)
    check = Call(check_erasure)
    wait = Call(wait_for_erasure)


class AsyncErasures(AsyncNoun):
    """`client.erasures`"""

    erase_user = AsyncCall(erase_user)
    get = AsyncCall(get_erasure)
    list = AsyncItems(list_erasures)
    check = AsyncCall(check_erasure)
    wait = AsyncCall(wait_for_erasure)
