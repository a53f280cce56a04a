"""Messages outlive a deploy: a worker reads what an older one wrote, and writes what an older one can read."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from libs.clients.temporal import CONVERTER
from libs.contracts import workflow
from libs.contracts.workflow import CallPlan, EndRequest, RunRef, Step, TurnRequest, Unfinished, Wake

MESSAGES = [kind for _, kind in inspect.getmembers(workflow, dataclasses.is_dataclass)]
# As they were written before: these stay readable for ever. New fields get defaults, and a line here.
WRITTEN = [
    ('{"tenant_id":"t","run_id":"r"}', RunRef("t", "r")),
    ('{"tenant_id":"t","run_id":"r","deadline":12.5,"v":1}', RunRef("t", "r", 12.5)),
    ('{"control_seq":3}', Wake(3)),
    ('{"control_seq":3,"stop":true}', Wake(3, True)),
    ("{}", TurnRequest()),
    ('{"unfinished":[{"turn":1,"index":0,"kind":"lost"}]}', TurnRequest([Unfinished(1, 0, "lost")])),
    ("{}", Step()),
    ('{"waiting":true,"control_seq":4,"until":1.5}', Step(waiting=True, control_seq=4, until=1.5)),
    ('{"calls":[{"turn":2,"name":"f","queue":"q"}]}', Step(calls=[CallPlan(2, 0, "f", queue="q")])),
    ('{"code":"internal"}', EndRequest("internal")),
]


def read(text: str, kind: type[Any]) -> Any:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=text.encode())
    return CONVERTER.payload_converter.from_payload(payload, kind)


def write(message: object) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(CONVERTER.payload_converter.to_payload(message).data)
    return written


@pytest.mark.parametrize(("text", "message"), WRITTEN, ids=lambda value: str(value)[:50])
def test_what_was_written_is_read_and_written_again(text: str, message: Any) -> None:
    assert read(text, type(message)) == message
    assert read(json.dumps(write(message)), type(message)) == message


@pytest.mark.parametrize("message", [message for _, message in WRITTEN], ids=lambda value: str(value)[:50])
def test_a_field_of_a_newer_version_is_passed_over(message: Any) -> None:
    assert read(json.dumps(write(message) | {"newer": [1]}), type(message)) == message


def test_what_has_its_default_is_not_written() -> None:
    assert write(Step(calls=[CallPlan(1, 0, "f")])) == {"calls": [{"turn": 1, "name": "f"}]}
    assert write(Step()) == {}


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_hold_ids_and_small_facts_only(kind: type[Any]) -> None:
    fields = {field.name for field in dataclasses.fields(kind)}
    assert not fields & {"input", "output", "content", "arguments", "messages", "prompt", "result"}
