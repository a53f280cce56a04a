"""The calls about usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from agent_runtime.binding import AsyncCall, AsyncNoun, Call, Noun
from agent_runtime.delivery import deliver
from agent_runtime.failures import AnswerNotUnderstood
from agent_runtime.messages import get
from agent_runtime.retry import Retry
from agent_runtime.steps import Conversation, Plan
from agent_runtime.usage_models import UsageReport

MOST_GROUPS = 100_000


def get_usage(
    *,
    group_by: Sequence[str] = (),
    since: datetime | date | None = None,
    until: datetime | date | None = None,
    agent: str | None = None,
    model: str | None = None,
    user: str | None = None,
    labels: Mapping[str, str] | None = None,
    page_size: int = 200,
) -> Plan[UsageReport]:
    """What model calls used and cost: in total, and by `day`, `agent`, `model`, `user`, `label:KEY` (several do).

    An operator sees its tenant, a user its own runs; an administrator groups by `tenant`, `day` and `model`. A call
    counts on the day (UTC) on which it was opened; `until` is not included. By default the last 30 days. `model` is
    `provider/model` or `provider/*`. All groups are fetched. Raises `Forbidden`, `InvalidRequest`.
    """
    params: list[tuple[str, object]] = [("group_by", key) for key in group_by]
    params += [("from", since), ("to", until), ("agent", agent), ("model", model), ("user", user)]
    params += [("label", f"{name}:{value}") for name, value in (labels or {}).items()]
    request = get("usage", params=[*params, ("limit", page_size)])

    def converse(retry: Retry) -> Conversation[UsageReport]:
        page = request
        items: list[Any] = []
        while True:
            document = (yield from deliver(page, retry)).json()
            if not isinstance(document, dict) or not isinstance(document.get("items"), list):
                raise AnswerNotUnderstood("the answer is not a report of usage; check the URL of the API")
            items += document["items"]
            following = document.pop("next_cursor", None)
            if following is None or len(items) >= MOST_GROUPS:
                return UsageReport.received({**document, "items": items})
            page = replace(request, params=(*request.params, ("cursor", str(following))))

    return Plan(converse)


class Usages(Noun):
    """`client.usage`"""

    get = Call(get_usage)


class AsyncUsages(AsyncNoun):
    """`client.usage`"""

    get = AsyncCall(get_usage)
