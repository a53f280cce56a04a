"""The calls about what observers (LangFuse and others) refused of runs."""

from __future__ import annotations

from datetime import datetime

from agent_runtime.binding import AsyncCall, AsyncItems, AsyncNoun, Call, Items, Noun
from agent_runtime.delivery import ask, walk
from agent_runtime.messages import get, post, present
from agent_runtime.models import Document
from agent_runtime.steps import Flow, Plan


class Refusal(Document):
    """What an observer refused of a run. `item` of kind `traces` is FIRST-LAST: events whose spans it would not take.

    `status` is HTTP's. `retrying` while another attempt, which somebody asked for, is to be made.
    """

    id: str
    kind: str
    run_id: str
    item: str
    project: str
    status: int | None = None
    reason: str
    attempts: int
    refused_at: datetime | None = None
    retrying: bool = False


class RetriesAsked(Document):
    """How many items are to be sent again."""

    items: int


def list_refused(*, page_size: int = 50) -> Flow[Refusal]:
    """Newest first: what an observer would not take of the tenant's runs. Raises `Forbidden`."""
    return walk(get("traces", "refused", params=[("limit", page_size)]), Refusal)


def retry_refused(run_id: str | None = None, *, idempotency_key: str | None = None) -> Plan[RetriesAsked]:
    """Have it sent again, and scores that nobody took: all, or what is of one run; how many items that is.

    Raises `NotFound`, `Forbidden`.
    """
    body = present(run_id=run_id)
    return ask(post("traces", "refused", "retry", body=body, key=idempotency_key), RetriesAsked.received)


class Traces(Noun):
    """`client.traces`"""

    refused = Items(list_refused)
    retry = Call(retry_refused)


class AsyncTraces(AsyncNoun):
    """`client.traces`"""

    refused = AsyncItems(list_refused)
    retry = AsyncCall(retry_refused)
