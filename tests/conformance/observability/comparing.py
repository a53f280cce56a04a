"""Compares a trace with what happened: the requests that the scripted model saw and what the API answers of the run.

Nothing of the projection is used here. Ids are computed anew, from what is documented.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx

from tests.conformance.observability.receiver import ReceiverOfTraces, Seen

# Of each million tokens, as the platform under test is told.
INPUT_PRICE, OUTPUT_PRICE = Decimal(1), Decimal(2)
STATUS = "langfuse.observation.metadata.status"


def span_id(run: str, of: str) -> str:
    return hashlib.sha256(f"{UUID(run).hex}/{of}".encode()).hexdigest()[:16]


class Happened:
    """One run as its client and its model know it."""

    def __init__(self, run: dict[str, Any], events: list[dict[str, Any]]) -> None:
        self.run = run
        self.events = events

    @property
    def id(self) -> str:
        return str(self.run["id"])

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @classmethod
    async def read(cls, api: httpx.AsyncClient, run: str) -> Happened:
        found = (await api.get(f"/v1/runs/{run}")).raise_for_status().json()
        events: list[dict[str, Any]] = []
        while True:
            after = events[-1]["seq"] if events else 0
            page = (await api.get(f"/v1/runs/{run}/events", params={"after": after, "limit": 100})).raise_for_status()
            items = page.json()["items"]
            if not items:
                return cls(found, events)
            events += items


def check_whole(receiver: ReceiverOfTraces, happened: Happened, tags: set[str], *, once: bool = False) -> None:
    """Nothing is missing, nothing is there twice but as the same, and all of it is true."""
    trace = receiver.trace(happened.id)
    _check_ids(trace, happened)
    for id_, copies in trace.items():
        if once:
            assert len(copies) == 1, (happened.id, [span.name for span in copies])
        elif id_ != span_id(happened.id, "run"):
            assert len({span.raw for span in copies}) == 1, "a span that came again was another one"
    last = {id_: spans[-1] for id_, spans in trace.items()}
    _check_root(trace[span_id(happened.id, "run")], happened, tags)
    _check_generations(last, happened)
    _check_tools(last, happened)
    for span in last.values():
        assert span.attributes["user.id"] == happened.run["created_by"]
        assert span.attributes["session.id"] == happened.id


def check_counted(
    receiver: ReceiverOfTraces, runs: list[Happened], requests: list[dict[str, Any]], *, lost: int = 0
) -> None:
    """What the provider counted, request by request, is what the traces of all runs of an agent say.

    `lost` requests at the most were answered to a worker that died over it.
    """
    counted = Counter(
        (r["usage"]["prompt_tokens"], r["usage"]["completion_tokens"])
        for r in requests
        if r["usage"] and r["state"] == "finished" and r["fault"] != "no_usage"
    )
    told: Counter[tuple[int, int]] = Counter()
    for happened in runs:
        last = [spans[-1] for spans in receiver.trace(happened.id).values()]
        told += Counter(
            (_tokens(span, "input"), _tokens(span, "output"))
            for span in last
            if span.attributes.get("langfuse.observation.metadata.ledger") == "settled"
        )
    assert told <= counted, told - counted
    assert (counted - told).total() <= lost, counted - told


def _check_ids(trace: dict[str, list[Seen]], happened: Happened) -> None:
    """The spans that there are, are those of the events that the client reads."""
    models = {(e["data"]["turn"], e["data"]["attempt"]) for e in happened.of("model.started")}
    tools = {(e["data"]["turn"], e["data"]["index"], e["data"]["attempt"]) for e in happened.of("tool.started")}
    tools |= {
        (e["data"]["turn"], e["data"]["index"], 0) for e in happened.of("tool.completed") if not e["data"]["attempt"]
    }
    expected = {span_id(happened.id, f"m{turn}.{attempt}") for turn, attempt in models}
    expected |= {span_id(happened.id, f"t{turn}.{index}.{attempt}") for turn, index, attempt in tools}
    assert set(trace) == {*expected, span_id(happened.id, "run")}, happened.id


def _check_root(copies: list[Seen], happened: Happened, tags: set[str]) -> None:
    root = copies[-1]
    assert not any(span.parent for span in copies)
    assert len({span.start for span in copies}) == 1
    assert root.kind == "agent"
    assert root.attributes[STATUS] == happened.run["status"]
    assert all(span.attributes[STATUS] == "running" for span in copies[:-1] if span.raw != root.raw)
    assert set(root.attributes["langfuse.trace.tags"]) >= tags
    assert root.failed == (happened.run["status"] == "failed")
    given = happened.run["input"]
    assert root.attributes["langfuse.observation.input"] == (given if isinstance(given, str) else json.dumps(given))
    if happened.run["status"] == "completed":
        output = happened.run["output"]
        shown = root.attributes["langfuse.observation.output"]
        assert (shown if isinstance(output, str) else json.loads(shown)) == output
    if happened.run["status"] == "failed":
        assert root.attributes["langfuse.observation.status_message"].startswith(happened.run["error"]["code"])


def _check_generations(last: dict[str, Seen], happened: Happened) -> None:
    root = span_id(happened.id, "run")
    spans = [span for span in last.values() if span.kind == "generation"]
    assert all(span.parent == root for span in spans)
    total = sum((_cost(span) for span in spans), Decimal(0))
    assert total == Decimal(happened.run["usage"]["cost_usd"]), (happened.id, total)
    for event in happened.of("model.completed"):
        data = event["data"]
        span = last[span_id(happened.id, f"m{data['turn']}.{data['attempt']}")]
        assert span.attributes["langfuse.observation.model.name"] == happened.run["agent"]
        output = span.attributes["langfuse.observation.output"]
        assert data["content"] == (json.loads(output)["content"] if data["tool_calls"] else output)
        asked = json.loads(span.attributes["langfuse.observation.input"])
        assert sum(message["role"] == "assistant" for message in asked) == data["turn"] - 1
        if not data.get("estimated"):
            assert _cost(span) == _price(_tokens(span, "input"), _tokens(span, "output"))


def _check_tools(last: dict[str, Seen], happened: Happened) -> None:
    answered = {e["data"]["turn"]: e["data"] for e in happened.of("model.completed")}
    for event in happened.of("tool.completed"):
        data = event["data"]
        span = last.get(span_id(happened.id, f"t{data['turn']}.{data['index']}.{data['attempt']}"))
        assert span is not None, happened.id
        turn = answered[data["turn"]]
        assert span.kind == "tool"
        assert span.name == data["name"]
        assert span.parent == span_id(happened.id, f"m{turn['turn']}.{turn['attempt']}")
        assert span.attributes["langfuse.observation.input"] == turn["tool_calls"][data["index"]]["arguments"]
        if "langfuse.observation.output" in span.attributes:
            assert span.attributes["langfuse.observation.output"] == data["content"]


def _cost(span: Seen) -> Decimal:
    said = span.attributes.get("langfuse.observation.cost_details")
    return json.loads(said, parse_float=Decimal, parse_int=Decimal)["total"] if said else Decimal(0)


def _tokens(span: Seen, kind: str) -> int:
    details: dict[str, int] = json.loads(span.attributes["langfuse.observation.usage_details"])
    return sum(count for name, count in details.items() if name.startswith(kind))


def _price(input_tokens: int, output_tokens: int) -> Decimal:
    return (input_tokens * INPUT_PRICE + output_tokens * OUTPUT_PRICE) / 1_000_000
