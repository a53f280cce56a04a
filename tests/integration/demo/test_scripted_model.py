"""The scripted model, asked by the same client as any provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

from deploy.demo.model_control import ModelControl
from deploy.demo.scripted_model import ScriptedModel
from deploy.demo.scripts import Answer, Usage
from deploy.demo.serving import serving

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    model = ScriptedModel({"echo": lambda messages: Answer(content=str(messages[-1]["content"]))})
    with serving(model.app) as url:
        yield url


@pytest_asyncio.fixture
async def control(url: str) -> AsyncIterator[ModelControl]:
    async with ModelControl(url) as control:
        yield control
        await control.release()


@pytest_asyncio.fixture
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with httpx.AsyncClient(trust_env=False) as http:
        yield AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, http_client=http)  # type: ignore[arg-type, unused-ignore]  # takes httpx or httpx2


def _body(model: str, *said: str) -> dict[str, Any]:
    roles = ["user", "assistant"]
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]}


async def _stream(client: AsyncOpenAI, model: str, *said: str) -> list[ChatCompletionChunk]:
    stream = await client.chat.completions.create(
        model=model,
        messages=[],
        stream=True,
        stream_options={"include_usage": True},
        extra_body=_body(model, *(said or ("hello",))),
    )
    return [chunk async for chunk in stream]


def _calls(chunk: ChatCompletionChunk) -> list[ChoiceDeltaToolCall]:
    return [call for choice in chunk.choices for call in choice.delta.tool_calls or []]


def _text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def test_the_answer_follows_from_the_conversation(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.add("two", [{"content": "first"}, {"content": "second", "chunks": ["sec", "ond"]}])
    assert _text(await _stream(client, "two", "a")) == "first"
    assert _text(await _stream(client, "two", "a", "first", "b")) == "second"
    assert _text(await _stream(client, "two", "a")) == "first"
    assert _text(await _stream(client, "echo", "a")) == "a"
    with pytest.raises(openai.BadRequestError, match="2 turns, turn 3"):
        await _stream(client, "two", "a", "first", "b", "second", "c")


async def test_usage_and_finish_reason_end_the_stream(client: AsyncOpenAI, control: ModelControl) -> None:
    usage = {"input_tokens": 100, "cached_input_tokens": 40, "output_tokens": 7, "reasoning_tokens": 3}
    await control.add("u", [{"content": "x", "usage": usage}])
    chunks = await _stream(client, "u")
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    said = chunks[-1].usage
    assert said is not None
    assert said.prompt_tokens_details is not None
    assert said.completion_tokens_details is not None
    assert (said.prompt_tokens, said.completion_tokens) == (100, 7)
    assert (said.prompt_tokens_details.cached_tokens, said.completion_tokens_details.reasoning_tokens) == (40, 3)
    assert (await control.requests("u"))[0]["usage"]["total_tokens"] == 107


async def test_parallel_calls_come_in_pieces(client: AsyncOpenAI, control: ModelControl) -> None:
    calls = [{"name": "read", "arguments": {"sku": "A-1", "n": 5}}, {"name": "list"}, {"name": "x", "id": ""}]
    await control.add("calls", [{"content": "wait", "tool_calls": calls}])
    chunks = await _stream(client, "calls")
    arguments, names, ids = [""] * 3, [""] * 3, ["?"] * 3
    pieces = 0
    for delta in (call for chunk in chunks for call in _calls(chunk)):
        assert delta.function is not None
        pieces += 1
        names[delta.index] += delta.function.name or ""
        arguments[delta.index] += delta.function.arguments or ""
        ids[delta.index] = delta.id if delta.id is not None else ids[delta.index]
    assert names == ["read", "list", "x"]
    assert [json.loads(text) for text in arguments] == [{"sku": "A-1", "n": 5}, {}, {}]
    assert pieces > 3
    assert ids[0].startswith("call_calls-0")
    assert ids[2] == ""
    whole = await client.chat.completions.create(model="calls", messages=[], extra_body=_body("calls", "a"))
    assert isinstance(whole, ChatCompletion)
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.tool_calls is not None
    assert whole.usage is not None
    assert whole.usage.prompt_tokens > 0


async def test_a_held_stream_has_sent_a_chunk_and_not_the_last(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.add("h", [{"chunks": ["a", "b", "c"], "hold_after_chunks": 1, "hold_times": 1}])
    reading = asyncio.create_task(_stream(client, "h"))
    (record,) = await control.requests("h", "held", wait=5)
    assert record["chunks_sent"] == 1
    assert record["first_chunk_at"]
    assert record["finished_at"] is None
    assert not reading.done()
    assert await control.release("h") == 1
    assert _text(await reading) == "abc"
    assert _text(await _stream(client, "h")) == "abc"
    assert [(r["attempt"], r["state"]) for r in await control.requests("h")] == [(1, "finished"), (2, "finished")]


async def test_a_client_that_leaves_is_seen(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.add("left", [{"chunks": ["a", "b"], "hold_until_released": True}])
    reading = asyncio.create_task(_stream(client, "left"))
    await control.requests("left", "held", wait=5)
    reading.cancel()
    (record,) = await control.requests("left", "aborted", wait=5)
    assert record["aborted_at"]
    assert record["api_key"] is True
    assert "hello" in (await control.request(record["id"]))["body"]


async def test_latency(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.add("slow", [{"chunks": ["a", "b", "c"], "first_delay_ms": 40, "delay_ms": 30}])
    await _stream(client, "slow")
    (record,) = await control.requests("slow")
    # The loop's timers count whole milliseconds of another clock.
    assert record["first_chunk_at"] - record["started_at"] >= 0.04 - 0.001
    assert record["finished_at"] - record["first_chunk_at"] >= 0.06 - 2 * 0.001


async def test_a_status_for_the_first_requests_of_a_turn(client: AsyncOpenAI, control: ModelControl) -> None:
    fault = {"kind": "status", "status": 429, "retry_after": 0.5, "times": 2}
    await control.add("busy", [{"content": "ok", "fault": fault}])
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            await _stream(client, "busy")
        assert caught.value.response.headers["retry-after"] == "0.5"
    assert _text(await _stream(client, "busy")) == "ok"
    with pytest.raises(openai.RateLimitError):
        await _stream(client, "busy", "another conversation")


@pytest.mark.parametrize("after", [0, 1])
async def test_a_reset_breaks_the_connection(client: AsyncOpenAI, control: ModelControl, after: int) -> None:
    model = f"reset-{after}"
    await control.add(model, [{"content": "abcdef", "fault": {"kind": "reset", "after_chunks": after}}])
    with pytest.raises((openai.APIConnectionError, httpx.ReadError)):
        await _stream(client, model)
    assert (await control.requests(model, "failed", wait=5))[0]["chunks_sent"] == after


async def test_a_cut_stream_ends_without_a_finish_reason(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.add("cut", [{"chunks": ["a", "b"], "fault": {"kind": "cut_stream"}}])
    chunks = await _stream(client, "cut")
    assert _text(chunks) == "a"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)


async def test_a_silent_model_sends_nothing(client: AsyncOpenAI, control: ModelControl) -> None:
    await control.add("silent", [{"content": "a", "fault": {"kind": "silent"}}])
    reading = asyncio.create_task(_stream(client, "silent"))
    await control.requests("silent", "silent", wait=5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reading, 0.1)
    assert await control.requests("silent", "aborted", wait=5)


async def test_faults_of_content(client: AsyncOpenAI, control: ModelControl) -> None:
    calls = [{"name": "f", "arguments": {"a": 1}}]
    await control.add("bad", [{"tool_calls": calls, "fault": {"kind": "malformed_arguments"}}])
    await control.add("mute", [{"content": "x", "fault": {"kind": "no_usage"}}])
    whole = await client.chat.completions.create(model="bad", messages=[], extra_body=_body("bad", "a"))
    assert whole.choices[0].message.model_dump()["tool_calls"][0]["function"]["arguments"] == '{"a'
    streamed = [call for chunk in await _stream(client, "bad") for call in _calls(chunk)]
    assert "".join(call.function.arguments or "" for call in streamed if call.function) == '{"a'
    assert all(chunk.usage is None for chunk in await _stream(client, "mute"))


async def test_what_cannot_be_used_is_refused(client: AsyncOpenAI, control: ModelControl, url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="no script"):
        await _stream(client, "nobody")
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        await control.add("x", [{"contents": "typo"}])
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        assert (await http.post("/v1/chat/completions", content=b"[")).status_code == 400
        assert (await http.post("/v1/chat/completions", json={"messages": 3, "model": "echo"})).status_code == 400
        assert "echo" in [model["id"] for model in (await http.get("/v1/models")).json()["data"]]
    assert Usage(input_tokens=1).output_tokens == 0
