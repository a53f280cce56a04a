"""The demo's story: an agent works, its worker is killed in the middle of a model call, the other worker goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
from agent_runtime import AgentRuntimeFailure, Artifact, AsyncClient, Delta, Run

from deploy.demo.checks import Event, Evidence, Explanation, Kill
from deploy.demo.model_control import ModelControl
from deploy.demo.screen import Screen, quoted
from deploy.demo.stock_keeper import KILLED_TURN, MODEL, TASK
from deploy.demo.telling import told, worker_name
from deploy.demo.world import DEAD_AFTER_SECONDS, HEARTBEAT_TIMEOUT_SECONDS, PRICE, World

QUESTIONS = ("Why is the sky blue?", "What does a bee do all day?")
STORY_SECONDS = 60.0
PIECE_SECONDS = 5.0


class StoryBroken(Exception):
    """The story could not be told to its end; the text says where it stopped."""


@dataclass
class Following:
    """What has come of a run over SSE."""

    run: Run
    events: list[Event] = field(default_factory=list)
    pieces: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def has(self, kind: str, turn: int, attempt: int = 1) -> Event:
        """The event of this type, turn and attempt, as soon as it has come."""

        def found() -> Event | None:
            return next((e for e in self.events if e["type"] == kind and _place(e) == (turn, attempt)), None)

        async with self.changed:
            await self.changed.wait_for(lambda: found() is not None)
        event = found()
        if event is None:
            raise StoryBroken(f"{kind} of turn {turn} was there and is gone")
        return event

    async def has_pieces(self, turn: int, attempt: int = 1) -> int:
        """How many pieces of this attempt's text have been seen, at the least one if it comes in time."""
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait_for(lambda: self.pieces.get((turn, attempt))), PIECE_SECONDS)
            except TimeoutError:
                return 0
        return len(self.pieces[turn, attempt])


class Story:
    """Tells it on a screen, and gathers the evidence."""

    def __init__(self, world: World, screen: Screen) -> None:
        self._world = world
        self._screen = screen

    async def tell(self) -> Evidence:
        """Raises `StoryBroken`, and what the SDK raises."""
        async with (
            AsyncClient(self._world.api_url, self._world.admin) as admin,
            AsyncClient(self._world.api_url, self._world.operator) as client,
            ModelControl(self._world.model_url) as model,
        ):
            await admin.tenants.create(self._world.tenant, name="Demo")
            await self._make_agents(client)
            main = Following(await client.runs.start("stock-keeper", TASK, labels={"shown-by": "demo"}))
            try:
                async with asyncio.timeout(STORY_SECONDS):
                    return await self._run(client, model, main)
            except TimeoutError:
                raise StoryBroken(await _where(client, main)) from None

    async def _make_agents(self, client: AsyncClient) -> None:
        for name in ("stock-keeper", "explainer"):
            agent = self._world.agent(name)
            await client.agents.create(agent["slug"], agent["spec"], description=agent["description"])
            self._screen.line(
                f"agent [bold]{name}[/], version 1, from deploy/demo/agents/{name}.yaml "
                f"([magenta]{agent['spec']['model']}[/])"
            )

    async def _run(self, client: AsyncClient, model: ModelControl, main: Following) -> Evidence:
        self._screen.title("The run")
        self._screen.line(f"POST /v1/runs → 202, run {main.run.id}: “{TASK}”")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(client, main, "stock-keeper"))
            kill = await self._kill_its_worker(main, model)
            # Meanwhile the other worker is not idle.
            asked = [tasks.create_task(self._explain(client, question)) for question in QUESTIONS]
        return await self._evidence(client, model, main, kill, [task.result() for task in asked])

    async def _follow(self, client: AsyncClient, following: Following, title: str) -> None:
        self._screen.doing(f"{title} works; its events come over SSE")
        async for item in client.runs.follow(following.run.id):
            async with following.changed:
                if isinstance(item, Delta):
                    pieces = following.pieces.setdefault((item.turn, item.attempt), [])
                    pieces.append(item.text)
                    self._screen.writing(f"{title}, turn {item.turn}, attempt {item.attempt}", "".join(pieces))
                else:
                    event = item.as_json()
                    following.events.append(event)
                    self._tell(event, title)
                following.changed.notify_all()
        following.ended.set()
        self._screen.doing("the real language model is still writing")

    def _tell(self, event: Event, title: str) -> None:
        if event["type"] in ("model.completed", "model.failed"):
            turn, attempt = _place(event)
            self._screen.writing(f"{title}, turn {turn}, attempt {attempt}", None)
        if event["type"] == "model.started" and event["data"]["attempt"] > 1:
            self._screen.doing(f"{worker_name(event['data']['worker'])} goes on where the log ends")
        if line := told(event):
            self._screen.line(line, cut=True)

    async def _kill_its_worker(self, main: Following, model: ModelControl) -> Kill:
        """As soon as the model confirms that it has sent a piece of the answer and holds back the rest."""
        turn = KILLED_TURN + 1
        await self._held(main, model)
        started = await main.has("model.started", turn)
        pieces = await main.has_pieces(turn)
        record = (await model.requests(MODEL, "held"))[0]
        worker = started["data"]["worker"]
        name = worker_name(worker)
        killed = await asyncio.to_thread(self._world.kill, name)
        self._screen.line(
            f"[bold red]✗ SIGKILL to {name}[/] ({killed}) in the middle of turn {turn}: "
            f"the model has sent {record['chunks_sent']} pieces of its answer, and not the last"
        )
        self._screen.line(
            f"  its silence is noticed after {HEARTBEAT_TIMEOUT_SECONDS} s here (worker timeout "
            f"{HEARTBEAT_TIMEOUT_SECONDS} s, dead after {DEAD_AFTER_SECONDS} s; by default 10 s and 8 s)"
        )
        self._screen.doing(f"{name} is dead; meanwhile the other worker asks a real language model")
        return Kill(worker, turn, started["data"]["attempt"], record, pieces)

    async def _held(self, main: Following, model: ModelControl) -> None:
        """Return when the model holds an answer back; the run must not have ended before."""
        waiting = asyncio.create_task(model.requests(MODEL, "held", wait=STORY_SECONDS))
        ended = asyncio.create_task(main.ended.wait())
        try:
            await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                last = main.events[-1]
                raise StoryBroken(f"the run ended before its worker was killed: {last['type']} {last['data']}")
        finally:
            waiting.cancel()
            ended.cancel()

    async def _explain(self, client: AsyncClient, question: str) -> Explanation:
        following = Following(await client.runs.start("explainer", question))
        title = f"explainer: {question}"
        async for item in client.runs.follow(following.run.id):
            if isinstance(item, Delta):
                pieces = following.pieces.setdefault((item.turn, item.attempt), [])
                pieces.append(item.text)
                self._screen.writing(title, "".join(pieces))
        run = await client.runs.get(following.run.id)
        self._screen.writing(title, None)
        self._screen.line(f"[magenta]SmolLM2[/]   {question} “{quoted(str(run.output), 100)}”", cut=True)
        counted = await self._count(question, str(run.output))
        return Explanation(question, run.as_json(), *counted)

    async def _count(self, question: str, answer: str) -> tuple[int, int]:
        """What the local model's server counts for the conversation and for the answer, asked past the platform."""
        spec = self._world.agent("explainer")["spec"]
        messages = [{"role": "system", "content": spec["instructions"]}, {"role": "user", "content": question}]
        async with httpx.AsyncClient(base_url=self._world.local_model_url, trust_env=False, timeout=30) as http:
            once = {"model": spec["model"].split("/")[1], "messages": messages, "max_tokens": 1}
            asked = await http.post("/v1/chat/completions", json=once)
            split = await http.post("/tokenize", json={"content": answer})
            return asked.json()["usage"]["prompt_tokens"], len(split.json()["tokens"])

    async def _evidence(
        self, client: AsyncClient, model: ModelControl, main: Following, kill: Kill, explained: list[Explanation]
    ) -> Evidence:
        run = await client.runs.get(main.run.id)
        artifacts: list[Artifact] = [artifact async for artifact in client.runs.artifacts(run.id)]
        return Evidence(
            run=run.as_json(),
            followed=main.events,
            log=[event.as_json() async for event in client.runs.events(run.id)],
            schema=self._world.agent("stock-keeper")["spec"]["output_schema"],
            price=PRICE,
            orders_received=list(await asyncio.to_thread(self._world.orders)),
            kill=kill,
            model_requests=await model.requests(MODEL),
            artifacts=[artifact.as_json() for artifact in artifacts],
            contents={artifact.id: await client.artifacts.read(artifact.id) for artifact in artifacts},
            explanations=explained,
        )


async def _where(client: AsyncClient, main: Following) -> str:
    """Where the story stands that took too long: what was seen of its run, and what its log says."""
    seen = main.events[-1]["type"] if main.events else "nothing"
    late = f"it was not over after {STORY_SECONDS:.0f} s. Of run {main.run.id} the last event that came was {seen}"
    try:
        run = await client.runs.get(main.run.id)
        log = [event async for event in client.runs.events(run.id)]
    except AgentRuntimeFailure as failure:
        return f"{late}; how it stands could not be asked: {failure}"
    return f"{late}, {len(main.events)} of {len(log)}; it is {run.status}"


def _place(event: Event) -> tuple[Any, Any]:
    return event["data"].get("turn"), event["data"].get("attempt")
