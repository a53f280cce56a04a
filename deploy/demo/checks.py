"""What the demo claims, each claim a pure function of the evidence: it says what is wrong, or nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from libs.domain.schemas import mismatch

Event = dict[str, Any]  # seq, type, data
MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Kill:
    """What was known when a worker was killed. `record` is the scripted model's of the call in progress."""

    worker: str  # as events name it
    turn: int
    attempt: int
    record: dict[str, Any]
    pieces_seen: int  # deltas of that attempt that had been shown


@dataclass(frozen=True)
class Explanation:
    """A run that the real model answered, and what its server counts for the same texts."""

    question: str
    run: dict[str, Any]
    counted_input: int
    counted_output: int


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    input: Decimal
    cached: Decimal
    output: Decimal


@dataclass(frozen=True)
class Evidence:
    """All that the demo has seen of its main run, and of those with the real model."""

    run: dict[str, Any]
    followed: list[Event]  # as they came over SSE
    log: list[Event]  # read as pages afterwards
    schema: dict[str, Any]
    price: Price
    orders_received: list[dict[str, Any]]
    kill: Kill
    model_requests: list[dict[str, Any]]
    artifacts: list[dict[str, Any]]
    contents: dict[str, bytes]  # by artifact id
    explanations: list[Explanation] = field(default_factory=list)

    def of(self, kind: str, **wanted: Any) -> list[Event]:
        """Events of a type whose data has these values."""
        return [e for e in self.log if e["type"] == kind and all(e["data"].get(k) == v for k, v in wanted.items())]


@dataclass(frozen=True)
class Claim:
    """A sentence that is true when `problem` is empty."""

    text: str
    problem: str

    @property
    def holds(self) -> bool:
        return not self.problem


def check(evidence: Evidence) -> list[Claim]:
    """Every claim, judged; evidence that cannot even be read makes a claim false."""
    judged = []
    for text, judge in CLAIMS:
        try:
            problems = list(judge(evidence))
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
            problems = [f"the evidence cannot be read: {type(error).__name__} {error}"]
        judged.append(Claim(text, "; ".join(problems)))
    return judged


def _completed(e: Evidence) -> Iterator[str]:
    if e.run["status"] != "completed":
        yield f"the run is {e.run['status']}: {e.run.get('error')}"
    if e.log[-1]["type"] != "run.completed":
        yield f"the last event is {e.log[-1]['type']}"
    if e.log[-1]["data"].get("output") != e.run["output"]:
        yield "the last event has another output than the run"


def _gapless(e: Evidence) -> Iterator[str]:
    numbers = [event["seq"] for event in e.followed]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the numbers of the events that came are {numbers}"
    if e.run["last_seq"] != len(e.log):
        yield f"the run says {e.run['last_seq']} events, its log has {len(e.log)}"
    if [(x["seq"], x["type"], x["data"]) for x in e.followed] != [(x["seq"], x["type"], x["data"]) for x in e.log]:
        yield "the events that came live are not those of the log"
    if sum(event["type"] in ("run.completed", "run.failed", "run.cancelled") for event in e.log) != 1:
        yield "there is not exactly one end"


def _valid_output(e: Evidence) -> Iterator[str]:
    if problem := mismatch(e.run["output"], e.schema):
        yield problem
    bought = [(order["sku"], order["quantity"], order["order"]) for order in e.orders_received]
    if [(order["sku"], order["quantity"], order["order"]) for order in e.run["output"]["ordered"]] != bought:
        yield "it names other orders than the inventory service has"


def _written_once(e: Evidence) -> Iterator[str]:
    if len(e.orders_received) != 1:
        yield f"the inventory service received {len(e.orders_received)} orders"
    started, done = e.of("tool.started", name="place_order"), e.of("tool.completed", name="place_order")
    if [event["data"]["effect"] for event in started] != ["write"] or len(done) != 1:
        yield f"the log has {len(started)} starts and {len(done)} results of it"
    elif done[0]["data"]["is_error"]:
        yield "its result is an error"


def _killed_in_the_middle(e: Evidence) -> Iterator[str]:
    record = e.kill.record
    if record["state"] != "held" or not record["first_chunk_at"] or record["chunks_sent"] < 1:
        yield f"the model had sent {record['chunks_sent']} pieces and was {record['state']}"
    if record["finished_at"] is not None:
        yield "the model had sent everything"
    if not e.kill.pieces_seen:
        yield "no piece of the answer had been seen live"
    if e.of("model.completed", turn=e.kill.turn, attempt=e.kill.attempt):
        yield "the killed attempt has a result"
    written = e.of("tool.completed", name="place_order")
    opened = e.of("model.started", turn=e.kill.turn, attempt=e.kill.attempt)
    if not opened or not written or written[0]["seq"] > opened[0]["seq"]:
        yield "the write was not before it"


def _taken_over(e: Evidence) -> Iterator[str]:
    turn, attempt = e.kill.turn, e.kill.attempt
    first = e.of("model.started", turn=turn, attempt=attempt)
    second = e.of("model.started", turn=turn, attempt=attempt + 1)
    if not first or first[0]["data"]["worker"] != e.kill.worker:
        yield f"attempt {attempt} of turn {turn} was not the killed worker's"
    if not second or second[0]["data"]["worker"] == e.kill.worker:
        yield f"there is no attempt {attempt + 1} of turn {turn} on another worker"
    if not e.of("model.failed", turn=turn, attempt=attempt, code="worker_lost"):
        yield f"attempt {attempt} was not closed as lost"
    done = e.of("model.completed", turn=turn)
    if [event["data"]["attempt"] for event in done] != [attempt + 1]:
        yield f"turn {turn} was not completed by attempt {attempt + 1}"


def _nothing_else_repeated(e: Evidence) -> Iterator[str]:
    starts = Counter(event["data"]["turn"] for event in e.of("model.started"))
    starts[e.kill.turn] -= 1
    if repeated := [turn for turn, count in starts.items() if count != 1]:
        yield f"turns whose model was called more than once: {repeated}"
    turns = len(e.of("model.completed"))
    if len(e.model_requests) != turns + 1:
        yield f"the model was asked {len(e.model_requests)} times for {turns} turns"


def _filed(e: Evidence) -> Iterator[str]:
    created = e.of("artifact.created")
    if len(e.artifacts) != 1 or len(created) != 1:
        yield f"there are {len(e.artifacts)} files and {len(created)} events of one"
    for artifact in e.artifacts:
        content = e.contents[artifact["id"]]
        digests = {hashlib.sha256(content).hexdigest(), artifact["sha256"], created[0]["data"]["sha256"]}
        if len(digests) != 1 or len(content) != artifact["size"]:
            yield f"{artifact['name']} is not what was recorded"
        if not all(order["order"].encode() in content for order in e.orders_received):
            yield f"{artifact['name']} does not name the order"


def _billed(e: Evidence) -> Iterator[str]:
    answered = {r["turn"] + 1: r["usage"] for r in e.model_requests if r["state"] == "finished"}
    cost = Decimal(0)
    for event in e.of("model.completed"):
        usage, said = event["data"]["usage"], answered[event["data"]["turn"]]
        if (usage["input_tokens"], usage["output_tokens"]) != (said["prompt_tokens"], said["completion_tokens"]):
            yield f"turn {event['data']['turn']} has other tokens than the model's server said"
        price = _cost(usage, e.price)
        if Decimal(event["data"]["cost_usd"]) != price:
            yield f"turn {event['data']['turn']} costs {event['data']['cost_usd']}, not {price}"
        cost += price
    lost = e.of("model.failed", turn=e.kill.turn, attempt=e.kill.attempt)[0]["data"].get("usage") or {}
    if not lost.get("input_tokens") or not e.run["usage"]["estimated"]:
        yield "the lost attempt is not among the estimated usage"
    total = sum(event["data"]["usage"]["input_tokens"] for event in e.of("model.completed"))
    if e.run["usage"]["input_tokens"] != total + lost.get("input_tokens", 0):
        yield f"the run says {e.run['usage']['input_tokens']} input tokens, its calls have {total}"
    if Decimal(e.run["usage"]["cost_usd"]) <= cost:
        yield f"the run costs {e.run['usage']['cost_usd']}, its answered calls alone {cost}"


def _really_answered(e: Evidence) -> Iterator[str]:
    answers = [x.run["output"] for x in e.explanations]
    if len(answers) < 2 or not all(isinstance(answer, str) and len(answer.split()) > 2 for answer in answers):
        yield f"the answers are {json.dumps(answers)}"
    if len(set(answers)) != len(answers):
        yield "different questions got the same answer"
    for x in e.explanations:
        usage = x.run["usage"]
        if x.run["status"] != "completed" or usage["estimated"]:
            yield f"a run is {x.run['status']}, its usage {'estimated' if usage['estimated'] else 'reported'}"
        if usage["input_tokens"] != x.counted_input or usage["input_tokens"] <= 0:
            yield f"input tokens: {usage['input_tokens']}, counted by its server: {x.counted_input}"
        # The server also counts the token that ends an answer.
        if usage["output_tokens"] - x.counted_output not in (0, 1) or usage["output_tokens"] <= 0:
            yield f"output tokens: {usage['output_tokens']}, counted by its server: {x.counted_output}"


def _cost(usage: dict[str, int], price: Price) -> Decimal:
    fresh = usage["input_tokens"] - usage["cached_input_tokens"]
    parts = fresh * price.input + usage["cached_input_tokens"] * price.cached + usage["output_tokens"] * price.output
    return parts / MILLION


CLAIMS: tuple[tuple[str, Callable[[Evidence], Iterator[str]]], ...] = (
    ("The run completed, though its worker was killed", _completed),
    ("Every event came exactly once and in order, without a gap", _gapless),
    (
        "The worker died in the middle of a model call: some of its answer was sent and seen, not the last",
        _killed_in_the_middle,
    ),
    ("The other worker took the call over as attempt 2", _taken_over),
    ("The order was received exactly once, by a service that would have bought twice", _written_once),
    ("No other model call was made twice", _nothing_else_repeated),
    ("The answer fits the agent's output schema and names the real order", _valid_output),
    ("The report is stored, and its content has the SHA-256 that was recorded", _filed),
    ("Tokens are those that the model's server reported, and cost what the price list says", _billed),
    ("A real language model on this machine answered, and its token counts are its server's", _really_answered),
)
