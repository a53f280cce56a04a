"""The ledger against what the provider itself recorded: to the token and the cent, after faults, kills and retries."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from agent_runtime import AsyncClient, Run, UsageSums

from deploy.demo.model_control import ModelControl
from tests.chaos import crashing_worker
from tests.fixtures.embedded import EmbeddedPlatform, WorkerProcess
from tests.fixtures.platform import PROVIDER, call, eventually
from tests.fixtures.records import Record, Records

pytestmark = [pytest.mark.timeout(170), pytest.mark.xdist_group("platform")]

IN, CACHED, OUT = Decimal("0.25"), Decimal("0.025"), Decimal("2")  # USD per million, entered before anything runs
TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
KILLS, STORM = 14, 20
Told = tuple[int, ...]  # a turn and its four counts of tokens, as the provider recorded them


@dataclass
class Case:
    """One run of an agent and model of its own."""

    fault: dict[str, Any] | None = None
    estimated: int = 0  # calls whose usage never arrives
    held: bool = False  # the first answer waits while its worker is killed, or the run is cancelled
    provider: str = PROVIDER
    slug: str = field(default_factory=lambda: f"l-{uuid4().hex[:10]}")
    run: Run | None = None

    def turns(self, number: int) -> list[dict[str, Any]]:
        used = [dict(zip(TOKENS, (1000 + number, 100 + number, 50 + turn, 5 + number), strict=True)) for turn in (1, 2)]
        first: dict[str, Any] = {"tool_calls": [call("look", item="x")], "usage": used[0], "content": "Let me see."}
        if self.fault:
            first["fault"] = self.fault
        if self.held:
            first |= {"hold_after_chunks": 1, "hold_times": 1}
        return [first, {"content": "Done.", "usage": used[1]}]


CASES = {
    "as it should": Case(),
    "refused for a moment": Case({"kind": "status", "status": 429, "times": 1, "retry_after": 0}, estimated=1),
    "broken for a moment": Case({"kind": "status", "status": 500, "times": 2}, estimated=2),
    "connection reset": Case({"kind": "reset", "after_chunks": 1, "times": 1}, estimated=1),
    "stream cut": Case({"kind": "cut_stream", "after_chunks": 2, "times": 1}, estimated=1),
    "usage never told": Case({"kind": "no_usage"}, estimated=1),
    "worker killed": Case(held=True, estimated=1),
    "cancelled": Case(held=True, estimated=1),
    "without a price": Case(provider="unpriced"),
    "a local model": Case(provider="house"),
}


@pytest.fixture
async def tenant(platform: EmbeddedPlatform) -> str:
    slug = f"ledger-{uuid4().hex[:8]}"
    await asyncio.to_thread(platform.make_tenant, slug)
    return slug


@pytest.fixture
def providers(platform: EmbeddedPlatform, tmp_path: Path) -> str:
    """The scripted provider under three names: with a price, without one, and as a local one."""
    common = {"base_url": f"{platform.model_url}/v1", "api_key_env": "SCRIPTED_KEY"}
    priced = {"models": {"*": {"input_price": "1", "output_price": "2"}}}
    found = {PROVIDER: common | priced, "unpriced": common, "house": common | {"local": True}}
    path = tmp_path / "providers.yaml"
    path.write_text(yaml.safe_dump({"providers": found}))
    return str(path)


async def start(platform: EmbeddedPlatform, api: AsyncClient, model: ModelControl, case: Case, number: int) -> None:
    await model.add(case.slug, case.turns(number))
    tools = [platform.tool("look", "read")]
    await api.agents.create(case.slug, {"model": f"{case.provider}/{case.slug}", "tools": tools})
    case.run = await api.runs.start(case.slug, "hello", labels={"case": str(number)})


async def told(model: ModelControl, slug: str) -> tuple[list[dict[str, Any]], Counter[Told]]:
    """Every request that the provider had, and what it told of those that it answered to the end."""
    requests = await model.requests(slug)
    return requests, Counter(
        (
            each["turn"] + 1,
            each["usage"]["prompt_tokens"],
            each["usage"]["prompt_tokens_details"]["cached_tokens"],
            each["usage"]["completion_tokens"],
            each["usage"]["completion_tokens_details"]["reasoning_tokens"],
        )
        for each in requests
        if each["state"] == "finished" and each["usage"]
    )


def settled(record: Record) -> Counter[Told]:
    rows = [row for row in record.ledger if row["state"] == "settled"]
    return Counter((row["turn"], *(row[name] for name in TOKENS)) for row in rows)


def price(tokens: Counter[Told], fresh: Decimal = IN, cached: Decimal = CACHED, out: Decimal = OUT) -> Decimal:
    """What the provider would bill, reckoned here and not by the platform."""
    total = Decimal(0)
    for (_, given, from_cache, answered, _), count in tokens.items():
        total += count * ((given - from_cache) * fresh + from_cache * cached + answered * out)
    return total / 1_000_000


def sums_of(tokens: Counter[Told]) -> tuple[int, ...]:
    return tuple(sum(count * each[place] for each, count in tokens.items()) for place in (1, 2, 3, 4))


def tokens_of(part: Any) -> tuple[int, ...]:
    return tuple(getattr(part, name) for name in TOKENS)


async def enter(platform: EmbeddedPlatform, slugs: list[str], *prices: Decimal, at: datetime | None = None) -> None:
    async with platform.client(role="admin") as admin:
        for slug in slugs:
            await admin.prices.set(
                PROVIDER,
                slug,
                input_price=prices[0],
                cached_input_price=prices[1],
                output_price=prices[2],
                valid_from=at,
            )


async def of_agent(api: AsyncClient, slug: str) -> UsageSums:
    report = await api.usage.get(group_by=["agent", "model"], agent=slug)
    assert [item.agent for item in report.items] in ([slug], [])
    return report.total


async def holder(records: Records, run_id: str, workers: list[WorkerProcess]) -> WorkerProcess:
    record = await records.until(run_id, lambda seen: seen.of("model.started"))
    name = record.of("model.started")[0]["worker"].split(":")[0]
    return next(worker for worker in workers if worker.name in name)


async def test_each_call_is_one_row_and_what_was_told_is_there_to_the_token(
    platform: EmbeddedPlatform, tenant: str, providers: str
) -> None:
    cases = {name: Case(case.fault, case.estimated, case.held, case.provider) for name, case in CASES.items()}
    await enter(platform, [case.slug for case in cases.values() if case.provider == PROVIDER], IN, CACHED, OUT)
    settings = {"MODEL_PROVIDERS_FILE": providers}
    async with platform.client(tenant) as api, platform.model() as model, platform.records(tenant) as records:
        with (
            platform.workers(1, crashing_worker.MODULE, ROLE="conductor", **settings),
            platform.workers(3, crashing_worker.MODULE, ROLE="steps", **settings) as workers,
        ):
            doomed, stopped = cases["worker killed"], cases["cancelled"]
            await start(platform, api, model, doomed, 1)
            assert doomed.run is not None
            await model.requests(doomed.slug, state="held", wait=20)
            (await holder(records, doomed.run.id, workers)).kill()
            for number, case in enumerate(cases.values(), 2):
                if case is not doomed:
                    await start(platform, api, model, case, number)
            assert stopped.run is not None
            await model.requests(stopped.slug, state="held", wait=20)
            await api.runs.cancel(stopped.run.id)
            for name, case in cases.items():
                assert case.run is not None
                ended = await api.runs.wait(case.run.id, timeout=60)
                record = await records.run(case.run.id)
                record.check("cancelled" if case is stopped else "completed")
                await compare(api, model, case, ended, record, name)
            await price_again(platform, api, model, cases["stream cut"])
            await erase(api, cases["stream cut"])


async def compare(api: AsyncClient, model: ModelControl, case: Case, ended: Run, record: Record, name: str) -> None:
    requests, tokens = await told(model, case.slug)
    assert settled(record) == tokens, name
    guessed = [row for row in record.ledger if row["state"] == "estimated"]
    assert (len(guessed), len(record.ledger)) == (case.estimated, len(requests)), name
    sums = await of_agent(api, case.slug)
    assert (sums.settled.calls, sums.estimated.calls) == (tokens.total(), case.estimated), name
    assert tokens_of(sums.settled) == sums_of(tokens), name
    assert tokens_of(sums.estimated) == tuple(sum(row[token] for row in guessed) for token in TOKENS), name
    assert sums.settled.cost_usd == (price(tokens) if case.provider == PROVIDER else 0), name
    assert sums.cost_usd == ended.usage.cost_usd == sums.settled.cost_usd + sums.estimated.cost_usd, name
    assert ended.usage.estimated == bool(guessed), name
    unpriced = len(requests) if case.provider == "unpriced" else 0
    assert (sums.unpriced_calls, ended.usage.unpriced_calls) == (unpriced, unpriced), name
    if case.fault and case.fault.get("status") == 429:
        assert tokens_of(sums.estimated) == (0, 0, 0, 0), name


async def price_again(platform: EmbeddedPlatform, api: AsyncClient, model: ModelControl, case: Case) -> None:
    """A price corrected for the past: rows stay, the sums are as if it had been known, and once is enough."""
    before = await of_agent(api, case.slug)
    new = (Decimal("0.3"), Decimal("0.003"), Decimal("2.2"))
    await enter(platform, [case.slug], *new, at=LONG_AGO)
    async with platform.client(role="admin") as admin:
        # The price that was entered first is valid from a later moment and goes on to count: nothing is to be done.
        unchanged = await admin.prices.wait((await admin.prices.rerate(PROVIDER, case.slug, since=LONG_AGO)).id, 30)
        first = await anext(aiter(admin.prices.history(provider=PROVIDER, model=case.slug)))
        await enter(platform, [case.slug], *new, at=first.valid_from)
        done = await admin.prices.wait((await admin.prices.rerate(PROVIDER, case.slug, since=LONG_AGO)).id, 30)
        again = await admin.prices.wait((await admin.prices.rerate(PROVIDER, case.slug, since=LONG_AGO)).id, 30)
    assert (unchanged.done, unchanged.corrected, done.done, again.done, again.corrected) == (True, 0, True, True, 0)
    after = await of_agent(api, case.slug)
    _, tokens = await told(model, case.slug)
    guessed = Counter({(0, *tokens_of(after.estimated)): 1})
    assert after.settled == before.settled
    assert after.cost_usd == price(tokens, *new) + price(guessed, *new)
    assert after.correction_usd == done.amount_usd == after.cost_usd - before.cost_usd


async def erase(api: AsyncClient, case: Case) -> None:
    before = await of_agent(api, case.slug)
    assert case.run is not None
    erasure = await api.erasures.wait((await api.runs.delete(case.run.id)).id, timeout=60)
    assert erasure.done
    assert await of_agent(api, case.slug) == before


@asynccontextmanager
async def storm(platform: EmbeddedPlatform, kills: list[str], seed: int) -> AsyncIterator[None]:
    """Workers of which one is killed every now and then, without a word, and replaced."""
    chance = random.Random(seed)
    workers = [platform.start_worker(f"storm{number}") for number in range(3)]

    async def strike() -> None:
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.4, 1.4))
            number = chance.randrange(len(workers))
            workers[number].kill()
            kills.append(workers[number].name)
            workers[number] = platform.start_worker(f"storm{number}")

    striking = asyncio.create_task(strike())
    try:
        yield
        await striking
    finally:
        striking.cancel()
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            worker.end(3)


async def test_under_a_storm_of_kills_nothing_is_counted_twice_or_lost(platform: EmbeddedPlatform, tenant: str) -> None:
    cases = [
        Case({"kind": "status", "status": 503, "times": 1} if number % 4 == 0 else None) for number in range(STORM)
    ]
    await enter(platform, [case.slug for case in cases], IN, CACHED, OUT)
    kills: list[str] = []
    async with platform.client(tenant) as api, platform.model() as model, platform.records(tenant) as records:
        async with storm(platform, kills, 7):
            for number, case in enumerate(cases):
                slow = [turn | {"first_delay_ms": 150, "delay_ms": 60} for turn in case.turns(number)]
                await model.add(case.slug, slow)
                tools = [platform.tool("look", "read")]
                await api.agents.create(case.slug, {"model": f"{case.provider}/{case.slug}", "tools": tools})
                case.run = await api.runs.start(case.slug, "hello")
                await asyncio.sleep(0.4)
            for case in cases:
                assert case.run is not None
                await api.runs.wait(case.run.id, timeout=90)
        every: Counter[Told] = Counter()
        guesses = 0
        for case in cases:
            assert case.run is not None
            found = await eventually(lambda case=case: _quiet(records, case))  # type: ignore[misc]  # bound here
            guesses += check(found, *await told(model, case.slug))
            every += settled(found)
        total = (await api.usage.get()).total
    assert len(kills) == KILLS
    assert guesses, "no call was hit: the storm was none"
    assert (total.settled.calls, total.estimated.calls) == (every.total(), guesses)
    assert tokens_of(total.settled) == sums_of(every)
    assert total.settled.cost_usd == price(every)


async def _quiet(records: Records, case: Case) -> Record | None:
    assert case.run is not None
    record = await records.run(case.run.id)
    return record if all(row["state"] != "open" for row in record.ledger) else None


def check(record: Record, requests: list[dict[str, Any]], tokens: Counter[Told]) -> int:
    """One row for each request, and for each that a worker died before it sent; how many are estimated."""
    record.check(None)
    assert not settled(record) - tokens, str(record)  # what is settled was told, as often at the most
    answered = {(data["turn"], data["attempt"]) for data in record.of("model.completed")}
    rows = {(row["turn"], row["attempt"]): row["state"] for row in record.ledger if row["state"] != "not_sent"}
    assert all(rows[key] == "settled" for key in answered), str(record)  # who told was believed
    lost = len(record.of("model.failed", code="worker_lost"))
    for turn in {turn for turn, _ in rows}:
        sent = sum(1 for request in requests if request["turn"] + 1 == turn)
        opened = sum(1 for key in rows if key[0] == turn)
        assert sent <= opened <= sent + lost, str(record)
    return sum(1 for state in rows.values() if state == "estimated")
