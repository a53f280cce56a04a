"""What the scripted model says as the stock keeper: its numbers come from the answers of the tools, never from here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from deploy.demo.scripts import Answer, FunctionCall, Message, Usage, turn_of
from libs.domain.texts import dump

MODEL = "stock-keeper"
TASK = "Please check A-100, B-200 and C-300, and order what has run low."
KILLED_TURN = 2  # counted from 0: the call after the write
PIECES_BEFORE_KILL = 9
REPORT = "reorder-report.md"


def stock_keeper(messages: Sequence[Message]) -> Answer:
    """Looks, orders, reports, answers: one turn each."""
    return (_look, _order, _report, _answer)[min(turn_of(messages), 3)](messages)


def _look(messages: Sequence[Message]) -> Answer:
    task = str(messages[-1]["content"])
    skus = [word.strip(".,") for word in task.split() if word[1:2] == "-"]
    calls = tuple(FunctionCall(name="read_stock", arguments={"sku": sku}) for sku in skus)
    return _said(messages, f"I look at the shelves first: {', '.join(skus)}.", calls)


def _order(messages: Sequence[Message]) -> Answer:
    low = [item for item in _results(messages, "minimum") if item["stock"] < item["minimum"]]
    calls = tuple(
        FunctionCall(
            name="place_order", arguments={"sku": item["sku"], "quantity": 2 * item["minimum"] - item["stock"]}
        )
        for item in low
    )
    names = ", ".join(f"{item['sku']} ({item['stock']} of {item['minimum']})" for item in low)
    return _said(messages, f"Below the minimum: {names}. I order up to twice the minimum.", calls)


def _report(messages: Sequence[Message]) -> Answer:
    items, orders = _results(messages, "minimum"), _results(messages, "order")
    shelves = "".join(f"| {i['sku']} | {i['name']} | {i['stock']} | {i['minimum']} |\n" for i in items)
    bought = "".join(f"- {o['order']}: {o['quantity']} of {o['sku']}\n" for o in orders)
    report = (
        f"# Stock report\n\n| item | name | stock | minimum |\n|---|---|---|---|\n{shelves}\n## Ordered\n\n{bought}"
    )
    call = FunctionCall(
        name="write_artifact", arguments={"name": REPORT, "content": report, "media_type": "text/markdown"}
    )
    words = (
        f"The supplier has confirmed {', '.join(order['order'] for order in orders)}, so the shelf will be full again "
        "before the week is over. Nothing else needs attention today. I write the report for the shop owner now, with "
        "every item that was checked and the order that was placed."
    )
    pieces = tuple(re.findall(r"\S+ ?", words))
    return _said(messages, words, (call,)).model_copy(
        update={
            "content": "",
            "chunks": pieces,
            "delay_ms": 35.0,
            "hold_after_chunks": PIECES_BEFORE_KILL,
            "hold_times": 1,
        }
    )


def _answer(messages: Sequence[Message]) -> Answer:
    items, orders = _results(messages, "minimum"), _results(messages, "order")
    ordered = [{"sku": o["sku"], "quantity": o["quantity"], "order": o["order"]} for o in orders]
    output = {
        "checked": [item["sku"] for item in items],
        "ordered": ordered,
        "report": REPORT,
        "summary": f"Of {len(items)} items {len(ordered)} had run low; the order is placed.",
    }
    return _said(messages, dump(output))


def _said(messages: Sequence[Message], content: str, calls: tuple[FunctionCall, ...] = ()) -> Answer:
    """An answer at the pace and with the usage of a provider whose cache holds the earlier conversation."""
    known = messages[: max((n for n, message in enumerate(messages) if message["role"] == "assistant"), default=0)]
    written = len(content) + sum(len(call.arguments) for call in calls)
    usage = Usage(
        input_tokens=_tokens(messages),
        cached_input_tokens=_tokens(known) if known else 0,
        output_tokens=written // 4 + 1,
        reasoning_tokens=min(8, written // 4),
    )
    return Answer(content=content, tool_calls=calls, chunks=8, usage=usage, first_delay_ms=120, delay_ms=20)


def _tokens(messages: Sequence[Message]) -> int:
    return len(dump(list(messages))) // 4 + 1


def _results(messages: Sequence[Message], key: str) -> list[dict[str, Any]]:
    """The tools' JSON answers that have this key."""
    found = []
    for message in messages:
        if message["role"] == "tool":
            _, _, body = str(message["content"]).partition("\n\n")
            try:
                value = json.loads(body)
            except ValueError:
                continue
            if isinstance(value, dict) and key in value:
                found.append(value)
    return found
