"""What an exporter does with runs: each is told as it has news, again where that changed; what is refused is kept."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from deploy.demo import serving
from libs.clients.object_store import ObjectStore
from libs.database import projections, refusals, score_showing, scores
from libs.database.engine import Database
from libs.database.projections import Scope
from libs.database.steps import Change
from libs.domain.events import END, NewEvent
from libs.settings.object_store import ObjectStoreSettings
from libs.settings.traces import TracesSettings, load_destinations
from services.worker.exporting.destination import Receiver
from services.worker.exporting.exporter import Exporter
from services.worker.exporting.scores import pass_over
from services.worker.exporting.sending import NAME
from tests.conformance.observability.receiver import Fault, ReceiverOfTraces, receiver_of_traces
from tests.fixtures.langfuse import KEYS, StandIn
from tests.fixtures.stack import TestServers
from tests.integration.database.rows import ANSWER, GIVEN_UP, MODEL, PRICE, Household, closed, failed, opened, sql

LONG_DUE = "interval '1 minute'"


class Killed(BaseException):
    """Nothing handles it."""


class Exporting:
    """An exporter that does what a test says, for one tenant."""

    def __init__(self, home: Household, servers: TestServers, url: str, **said: str) -> None:
        self.home = home
        values = {name.lower(): value for name, value in servers.environment.items()}
        own = said or {"langfuse_host": url, "langfuse_public_key": "pk", "langfuse_secret_key": "sk"}
        settings = TracesSettings.model_validate(own | {"traces_pause_seconds": 0.001, "traces_timeout_seconds": 0.5})
        destinations = load_destinations(settings)
        assert destinations is not None
        objects = ObjectStore(ObjectStoreSettings.model_validate(values))
        self.exporter = Exporter(home.database, objects, settings, destinations)

    @property
    def receiver(self) -> Receiver:
        """Of the home's runs alone; whatever pause it makes is over."""
        [receiver] = self.exporter.receivers
        receiver.scope = Scope([self.home.tenant_id], [])
        receiver._open_at = 0
        return receiver

    async def look(self) -> int:
        async with self.home.database.maintenance() as connection:
            await projections.begin(connection, NAME)
            await sql(connection, "UPDATE projection_reads SET next_at = clock_timestamp() WHERE name = $1", NAME)
            await projections.discover(connection, NAME, Scope([self.home.tenant_id], []), most=100, every=0)
        await self.home.sql(f"UPDATE projections SET next_at = clock_timestamp() - {LONG_DUE} WHERE name = $1", NAME)
        return await self.exporter.round(self.receiver)


@pytest.fixture
async def receiving(home: Household, servers: TestServers) -> AsyncIterator[tuple[Exporting, ReceiverOfTraces]]:
    with receiver_of_traces() as (receiver, url):
        exporting = Exporting(home, servers, url)
        yield exporting, receiver
        await exporting.exporter.close()


async def answered(home: Household, state: str = "settled") -> UUID:
    """A run of one answer, not ended."""
    run = await home.run()
    await home.commit(run, Change((NewEvent("model.started", MODEL),), opened=opened()))
    await home.commit(run, Change((NewEvent("model.completed", ANSWER),), turn=1, closed=closed(3, 4, state=state)))
    return run


async def end(home: Household, run: UUID) -> None:
    await home.commit(run, Change((NewEvent("run.completed", {"output": "Hi"}, END),), status="completed"))


async def test_the_root_comes_early_and_again_when_it_is_complete(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    exporting, receiver = receiving
    run = await answered(home)
    await exporting.look()
    assert [span.kind for span in receiver.seen] == ["agent", "generation"]
    assert not receiver.complete(str(run))
    assert await exporting.look() == 0
    await end(home, run)
    await exporting.look()
    assert [span.kind for span in receiver.seen] == ["agent", "generation", "agent"]
    assert receiver.complete(str(run))


async def look_and_die(exporting: Exporting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send what there is, and die before it is noted."""

    async def die(*_: object, **__: object) -> bool:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(projections, "advance", die)
        with pytest.raises(Killed):
            await exporting.look()


async def test_who_dies_before_it_noted_what_it_sent_sends_the_same_again(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces], monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting, receiver = receiving
    run = await answered(home)
    await end(home, run)
    await look_and_die(exporting, monkeypatch)
    await exporting.look()
    trace = receiver.trace(str(run))
    assert [len(copies) for copies in trace.values()] == [2, 2]
    assert all(len({span.raw for span in copies}) == 1 for copies in trace.values())


async def test_a_cost_that_changes_after_the_end_is_told_to_who_takes_spans_twice(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    exporting, receiver = receiving
    run = await answered(home, "estimated")
    await end(home, run)
    await exporting.look()
    await home.settle(run, closed(3, 5))
    await exporting.look()
    assert await exporting.look() == 0
    told = [span.attributes for span in receiver.seen if span.kind == "generation"]
    assert [each["langfuse.observation.metadata.ledger"] for each in told] == ["estimated", "settled"]
    assert [each["langfuse.observation.cost_details"] for each in told] == [
        f'{{"total":{PRICE.of(closed(3, tokens).usage):f}}}' for tokens in (4, 5)
    ]
    assert receiver.seen[-1].kind == "agent"
    assert receiver.seen[-1].attributes["langfuse.observation.metadata.status"] == "completed"


async def test_what_is_refused_is_kept_told_and_sent_again_on_demand(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    exporting, receiver = receiving
    run = await answered(home)
    await end(home, run)
    receiver.fault = lambda spans: Fault(status=400)
    await exporting.look()
    assert await exporting.look() == 0  # it is not tried again by itself
    async with home.database.tenant(home.tenant_id) as connection:
        [refused] = await refusals.page(connection, None, 10)
        assert (refused.run_id, refused.item, refused.status) == (run, "1-4", 400)
        assert "Hi" not in refused.reason
        assert await refusals.ask(connection, run) == 1
    await exporting.look()
    async with home.database.tenant(home.tenant_id) as connection:
        [refused] = await refusals.page(connection, None, 10)
        assert (refused.attempts, refused.retry_at) == (2, None)
        assert await refusals.ask(connection, run) == 1
    receiver.fault = lambda spans: None
    await exporting.look()
    assert receiver.complete(str(run))
    async with home.database.tenant(home.tenant_id) as connection:
        assert await refusals.page(connection, None, 10) == []


async def test_who_was_suspended_while_it_had_the_run_sends_nothing(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has it by then, and may have sent something newer."""
    exporting, receiver = receiving
    run = await answered(home)
    await end(home, run)
    with monkeypatch.context() as patched:
        minutes = itertools.count(step=60.0)
        patched.setattr("services.worker.exporting.sending.suspended_clock", lambda: next(minutes))
        await exporting.look()
    assert receiver.seen == []
    await exporting.look()
    assert receiver.complete(str(run))


async def test_a_run_is_told_by_the_worker_that_told_it_before_while_it_lives(
    home: Household, servers: TestServers, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    """Another one has to read all of its log again: it waits a moment, and goes on when nobody does."""
    exporting, receiver = receiving
    other = Exporting(home, servers, exporting.receiver.project.url or "")
    run = await answered(home)
    await exporting.look()
    await end(home, run)
    await home.sql("UPDATE projections SET next_at = clock_timestamp() WHERE run_id = $1", run)
    assert await other.exporter.round(other.receiver) == 0
    assert await exporting.exporter.round(exporting.receiver) == 1
    assert receiver.complete(str(run))
    left = await answered(home)
    await exporting.look()
    await end(home, left)
    assert await other.look() == 1
    assert receiver.complete(str(left))
    await other.exporter.close()


async def ask_again(home: Household, run: UUID, kind: str, item: str) -> None:
    """Of something that was refused."""
    async with home.database.tenant(home.tenant_id) as connection:
        await refusals.add(connection, home.tenant_id, run, kind, item, project="p", status=400, reason="It refuses.")
        assert await refusals.ask(connection, run)


async def test_a_score_that_cannot_be_shown_ends_no_round(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    exporting, _ = receiving
    await ask_again(home, await home.run(), "scores", "no id")
    [showing] = exporting.exporter._scores.values()
    assert await showing.round(exporting.receiver) == 1


async def test_scores_that_were_passed_over_are_shown_when_they_are_asked_for(
    home: Household, servers: TestServers
) -> None:
    """Given while their tenant had no project."""
    standing = StandIn(lists=False)
    with serving.serving(standing.app, 0) as url:
        keys = {name.lower(): value for name, value in KEYS.items()}
        exporting = Exporting(home, servers, url, langfuse_host=url, **keys)
        runs = [await answered(home), await answered(home)]
        await exporting.look()
        async with home.database.tenant(home.tenant_id) as connection:
            for run in runs:
                assert await scores.add(connection, run, None, name="n", value=1, comment=None, by="ada")
        await pass_over(home.database, Scope([home.tenant_id], []))
        [showing] = exporting.exporter._scores.values()
        assert await showing.round(exporting.receiver) == 0
        for run in runs:
            async with home.database.tenant(home.tenant_id) as connection:
                assert [await score_showing.take_up(connection, run, most=10) for _ in range(2)] == [1, 0]
            assert await showing.round(exporting.receiver) == 1
        assert [score["traceId"] for score in standing.scores] == [run.hex for run in runs]
        await exporting.exporter.close()


async def refused(home: Household) -> list[str]:
    async with home.database.tenant(home.tenant_id) as connection:
        return [each.item for each in await refusals.page(connection, None, 10)]


async def test_who_dies_before_it_noted_what_was_refused_leaves_no_refusal(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent the next time is of more events: a refusal of the first ones would stay when those are taken."""
    exporting, receiver = receiving
    run = await answered(home)
    receiver.fault = lambda spans: Fault(status=400)
    await look_and_die(exporting, monkeypatch)
    await end(home, run)
    await exporting.look()
    assert await refused(home) == ["1-4"]


async def test_what_was_refused_of_a_run_that_is_told_again_is_told_with_it(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    exporting, receiver = receiving
    run = await answered(home, "estimated")
    await end(home, run)
    receiver.fault = lambda spans: Fault(status=400)
    await exporting.look()
    assert await refused(home) == ["1-4"]
    receiver.fault = lambda spans: None
    await home.settle(run, closed(3, 5))
    await exporting.look()
    assert receiver.complete(str(run))
    assert await refused(home) == []


async def test_one_that_is_away_is_asked_again_later(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    exporting, receiver = receiving
    run = await answered(home)
    await end(home, run)
    receiver.fault = lambda spans: Fault(status=429, retry_after="7")
    await exporting.look()
    [position] = await home.sql("SELECT seq, next_at > clock_timestamp() + interval '5 s' FROM projections "
                                "WHERE run_id = $1", run)  # fmt: skip
    assert tuple(position) == (0, True)
    receiver.fault = lambda spans: None
    await exporting.look()
    assert receiver.complete(str(run))


async def test_a_run_of_a_tenant_that_moved_goes_to_no_other_project(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces], database: Database
) -> None:
    """Who uses which project is read anew now and then; what counts is what is said of the run's own tenant."""
    exporting, receiver = receiving
    run = await answered(home)
    [[slug]] = await home.sql("SELECT slug FROM tenants")
    tenancy = {slug: {"project": "none"}}
    said = exporting.exporter._destinations
    exporting.exporter._sending._destinations = type(said).model_validate({**dict(said), "tenants": tenancy})
    await exporting.look()
    assert receiver.seen == []
    [[finished]] = await home.sql("SELECT finished FROM projections WHERE run_id = $1", run)
    assert finished


async def test_of_a_tenant_that_moved_to_none_nothing_is_tried_again_nor_missing(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    exporting, receiver = receiving
    run = await answered(home)
    receiver.fault = lambda spans: Fault(status=503)
    await exporting.look()
    for kind in ("traces", "scores"):
        await ask_again(home, run, kind, "1-1")
    [[slug]] = await home.sql("SELECT slug FROM tenants")
    exporter, tenancy = exporting.exporter, {slug: {"project": "none"}}
    exporter._destinations = type(exporter._destinations).model_validate(
        {**dict(exporter._destinations), "tenants": tenancy}
    )
    await exporter.discover()
    async with home.database.tenant(home.tenant_id) as connection:
        assert [each.retry_at for each in await refusals.page(connection, None, 10)] == [None, None]
    async with home.database.maintenance() as connection:
        assert exporter._shown is not None
        assert home.tenant_id in exporter._shown.without


async def test_the_answer_of_a_worker_that_was_given_up_is_the_span_of_its_call(
    home: Household, receiving: tuple[Exporting, ReceiverOfTraces]
) -> None:
    """It was frozen, not dead, and committed before the one that took over: each attempt is one span."""
    exporting, receiver = receiving
    run = await home.run()
    await home.commit(run, Change((NewEvent("model.started", MODEL),), opened=opened()))
    again = NewEvent("model.started", MODEL | {"attempt": 2})
    await home.commit(run, Change((GIVEN_UP,), closed=closed(9, 9, state="estimated")))
    await home.commit(run, Change((again,), opened=opened(attempt=2)))
    await exporting.look()
    await home.commit(run, Change((NewEvent("model.completed", ANSWER),), turn=1, closed=closed(3, 4)))
    await end(home, run)
    await exporting.look()
    shown = {
        (span.attributes["langfuse.observation.metadata.attempt"], span.attributes.get("langfuse.observation.output"))
        for span in receiver.seen
        if span.kind == "generation"
    }
    assert shown == {(1, "Hi"), (2, None)}


async def test_a_correction_of_what_is_told_once_leaves_nothing_to_look_at_for_ever(
    home: Household, servers: TestServers, tmp_path: Path
) -> None:
    with receiver_of_traces() as (receiver, url):
        projects = tmp_path / "projects.yaml"
        projects.write_text(f"{{projects: {{c: {{kind: otlp, url: '{url}/api/public/otel/v1/traces'}}}}, default: c}}")
        exporting = Exporting(home, servers, url, traces_projects_file=str(projects))
        run = await failed(home)
        await exporting.look()
        await home.settle(run, closed(9, 10))
        assert await exporting.look() == 1
        [row] = await home.sql("SELECT finished, corrected FROM projections WHERE run_id = $1 AND name = $2", run, NAME)
        assert tuple(row) == (True, False)
        assert [span.kind for span in receiver.seen] == ["generation", "agent"]
        await exporting.exporter.close()
