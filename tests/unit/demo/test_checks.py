"""The demo's checker notices when any of its claims is false."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from deploy.demo.checks import CLAIMS, Evidence, Explanation, Kill, Price, check

OUTPUT = {"ordered": [{"sku": "A-1", "quantity": 5, "order": "ORD-1"}]}
SCHEMA = {"type": "object", "properties": {"ordered": {"type": "array"}}, "required": ["ordered"]}
REPORT = b"# Report\nORD-1"
DIGEST = hashlib.sha256(REPORT).hexdigest()
ONE, OTHER = "worker-1/a", "worker-2/b"


def _model(turn: int, attempt: int, worker: str) -> dict[str, Any]:
    return {"turn": turn, "attempt": attempt, "worker": worker}


def _answered(turn: int, attempt: int, worker: str) -> dict[str, Any]:
    usage = {"input_tokens": 100, "cached_input_tokens": 40, "output_tokens": 10, "reasoning_tokens": 2}
    return {**_model(turn, attempt, worker), "usage": usage, "cost_usd": "0.0000360"}


LOG: list[tuple[str, dict[str, Any]]] = [
    ("run.queued", {}),
    ("model.started", _model(1, 1, ONE)),
    ("model.completed", _answered(1, 1, ONE)),
    ("tool.started", {"turn": 1, "index": 0, "attempt": 1, "worker": ONE, "name": "place_order", "effect": "write"}),
    ("tool.completed", {"turn": 1, "index": 0, "attempt": 1, "worker": ONE, "name": "place_order", "is_error": False}),
    ("model.started", _model(2, 1, ONE)),
    ("model.failed", {**_model(2, 1, ONE), "code": "worker_lost", "usage": {"input_tokens": 90}}),
    ("model.started", _model(2, 2, OTHER)),
    ("model.completed", _answered(2, 2, OTHER)),
    ("artifact.created", {"id": "f", "sha256": DIGEST}),
    ("run.completed", {"output": OUTPUT}),
]


def _request(turn: int, state: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return {"turn": turn, "state": state, "usage": usage}


def _explanation(question: str, answer: str) -> Explanation:
    usage = {"input_tokens": 33, "output_tokens": 12, "estimated": False}
    return Explanation(question, {"status": "completed", "output": answer, "usage": usage}, 33, 11)


@pytest.fixture
def evidence() -> Evidence:
    log = [{"seq": n, "type": kind, "data": data} for n, (kind, data) in enumerate(copy.deepcopy(LOG), 1)]
    usage = {"input_tokens": 290, "cost_usd": "0.0001", "estimated": True}
    record = {"state": "held", "first_chunk_at": 1.0, "chunks_sent": 3, "finished_at": None}
    return Evidence(
        run={"status": "completed", "output": copy.deepcopy(OUTPUT), "last_seq": len(log), "usage": usage},
        followed=copy.deepcopy(log),
        log=log,
        schema=SCHEMA,
        price=Price(Decimal("0.25"), Decimal("0.025"), Decimal("2")),
        orders_received=[{"sku": "A-1", "quantity": 5, "order": "ORD-1"}],
        kill=Kill(ONE, 2, 1, record, 3),
        model_requests=[_request(0, "finished"), _request(1, "aborted"), _request(1, "finished")],
        artifacts=[{"id": "f", "name": "report", "size": len(REPORT), "sha256": DIGEST}],
        contents={"f": REPORT},
        explanations=[_explanation("a?", "It is so because."), _explanation("b?", "It is so, too.")],
    )


def _event(e: Evidence, number: int) -> Any:
    """Of the log and of what was followed alike."""
    e.followed[number - 1] = e.log[number - 1]
    return e.log[number - 1]["data"]


def _drop(e: Evidence, number: int) -> None:
    del e.log[number - 1], e.followed[number - 1]


COMPLETED, GAPLESS, KILLED, TAKEN_OVER, ONCE, REPEATED, VALID, FILED, BILLED, REAL = range(len(CLAIMS))

LIES: list[tuple[str, int, Callable[[Evidence], Any]]] = [
    ("the run failed", COMPLETED, lambda e: e.run.update(status="failed")),
    ("the last event is no end", COMPLETED, lambda e: _drop(e, 11)),
    ("the log has another output", COMPLETED, lambda e: _event(e, 11).update(output="x")),
    ("an event did not come", GAPLESS, lambda e: e.followed.pop(4)),
    ("an event came twice", GAPLESS, lambda e: e.followed.insert(4, e.followed[4])),
    ("events came in another order", GAPLESS, lambda e: e.followed.reverse()),
    ("an event came with other data", GAPLESS, lambda e: e.followed[2]["data"].update(turn=9)),
    ("the log has a gap", GAPLESS, lambda e: _drop(e, 5)),
    ("the run counts more events", GAPLESS, lambda e: e.run.update(last_seq=12)),
    ("there are two ends", GAPLESS, lambda e: e.log[0].update(type="run.failed")),
    ("the model had sent nothing", KILLED, lambda e: e.kill.record.update(chunks_sent=0)),
    ("the model had sent everything", KILLED, lambda e: e.kill.record.update(finished_at=2.0)),
    ("the model was not held", KILLED, lambda e: e.kill.record.update(state="streaming")),
    ("nothing was seen live", KILLED, lambda e: replace(e, kill=replace(e.kill, pieces_seen=0))),
    ("the write came after the kill", KILLED, lambda e: e.log[4].update(seq=99)),
    ("the killed attempt was completed", KILLED, lambda e: _event(e, 9).update(attempt=1)),
    ("another worker was killed", TAKEN_OVER, lambda e: replace(e, kill=replace(e.kill, worker=OTHER))),
    ("there is no second attempt", TAKEN_OVER, lambda e: _drop(e, 8)),
    ("the same worker went on", TAKEN_OVER, lambda e: _event(e, 8).update(worker=ONE)),
    ("the first attempt is not closed", TAKEN_OVER, lambda e: _event(e, 7).update(code="provider_error")),
    ("the turn was completed by attempt 3", TAKEN_OVER, lambda e: _event(e, 9).update(attempt=3)),
    ("the order came twice", ONCE, lambda e: e.orders_received.append(e.orders_received[0])),
    ("the order never came", ONCE, lambda e: e.orders_received.clear()),
    ("the order was sent again", ONCE, lambda e: e.log.insert(5, copy.deepcopy(e.log[3]))),
    ("the order failed", ONCE, lambda e: _event(e, 5).update(is_error=True)),
    ("the order was no write", ONCE, lambda e: _event(e, 4).update(effect="read")),
    ("the model was asked once more", REPEATED, lambda e: e.model_requests.append(_request(0, "aborted"))),
    ("the first turn was made twice", REPEATED, lambda e: e.log.insert(2, copy.deepcopy(e.log[1]))),
    ("the lost call was made three times", REPEATED, lambda e: e.log.insert(7, copy.deepcopy(e.log[7]))),
    ("the output misses its schema", VALID, lambda e: e.run.update(output={"ordered": 3})),
    ("the output is no object", VALID, lambda e: e.run.update(output="done")),
    ("the output names another order", VALID, lambda e: e.run["output"]["ordered"][0].update(order="ORD-2")),
    ("there is no file", FILED, lambda e: e.artifacts.clear()),
    ("the file has other content", FILED, lambda e: e.contents.update(f=b"# Report\nORD-1x")),
    ("the file's digest is another", FILED, lambda e: e.artifacts[0].update(sha256="0" * 64)),
    ("the event's digest is another", FILED, lambda e: _event(e, 10).update(sha256="0" * 64)),
    ("the file's size is another", FILED, lambda e: e.artifacts[0].update(size=1)),
    ("the file cannot be read", FILED, lambda e: e.contents.clear()),
    ("the server said other tokens", BILLED, lambda e: e.model_requests[0]["usage"].update(prompt_tokens=101)),
    ("a call costs something else", BILLED, lambda e: _event(e, 3).update(cost_usd="0.1")),
    ("the lost attempt is not billed", BILLED, lambda e: _event(e, 7).update(usage={"input_tokens": 0})),
    ("nothing is marked as estimated", BILLED, lambda e: e.run["usage"].update(estimated=False)),
    ("the run's tokens are not the sum", BILLED, lambda e: e.run["usage"].update(input_tokens=200)),
    ("the run costs less than its calls", BILLED, lambda e: e.run["usage"].update(cost_usd="0.00001")),
    ("nobody asked the real model", REAL, lambda e: e.explanations.clear()),
    ("the real model says always the same", REAL, lambda e: e.explanations[1].run.update(output="It is so because.")),
    ("the real model said nothing", REAL, lambda e: e.explanations[0].run.update(output="")),
    ("the real model's run failed", REAL, lambda e: e.explanations[0].run.update(status="failed")),
    ("the real model's usage is a guess", REAL, lambda e: e.explanations[0].run["usage"].update(estimated=True)),
    ("the input tokens are not the server's", REAL, lambda e: e.explanations[0].run["usage"].update(input_tokens=34)),
    ("the output tokens are not the server's", REAL, lambda e: e.explanations[0].run["usage"].update(output_tokens=10)),
]


def test_true_evidence_makes_every_claim_hold(evidence: Evidence) -> None:
    assert [claim.problem for claim in check(evidence)] == [""] * len(CLAIMS)


@pytest.mark.parametrize(("number", "lie"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a_lie_is_noticed(evidence: Evidence, number: int, lie: Callable[[Evidence], Any]) -> None:
    told = lie(evidence)
    claims = check(told if isinstance(told, Evidence) else evidence)
    assert not claims[number].holds, f"{claims[number].text!r} still holds"


def test_every_claim_is_broken_by_some_lie() -> None:
    assert {number for _, number, _ in LIES} == set(range(len(CLAIMS)))


def test_evidence_that_cannot_be_read_holds_nothing(evidence: Evidence) -> None:
    empty = replace(evidence, run={}, log=[], followed=[], model_requests=[], artifacts=[{}], explanations=[])
    assert not any(claim.holds for claim in check(empty))
