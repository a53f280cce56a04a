"""What users install: both clients alike, everything exported, an example that runs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import agent_runtime
import httpx
import pytest
from agent_runtime import AsyncClient, Client
from agent_runtime.binding import Described

from tests.unit.sdk.scripted import AT_ONCE, URL, ScriptedApi, events, ok, run

README = Path(agent_runtime.__file__).parents[1] / "README.md"


def calls(noun: object) -> dict[str, Any]:
    found = inspect.getmembers_static(type(noun), lambda member: isinstance(member, Described))
    return {name: member.describe for name, member in found}


def test_both_clients_have_the_same_calls() -> None:
    blocking, awaited = Client(URL), AsyncClient(URL)
    assert calls(blocking) == calls(awaited)
    nouns = [name for name in vars(blocking) if not name.startswith("_")]
    assert nouns == [
        "tenants",
        "users",
        "service_accounts",
        "plans",
        "prices",
        "agents",
        "versions",
        "runs",
        "artifacts",
        "audit",
        "erasures",
        "traces",
        "secrets",
        "usage",
    ]
    for noun in nouns:
        assert calls(getattr(blocking, noun)) == calls(getattr(awaited, noun)) != {}
    blocking.close()


def test_every_call_explains_itself() -> None:
    with Client(URL) as client:
        for noun in (
            client.tenants,
            client.plans,
            client.users,
            client.service_accounts,
            client.agents,
            client.versions,
            client.runs,
            client.artifacts,
            client.secrets,
        ):
            for name in calls(noun):
                method = getattr(noun, name)
                assert method.__doc__
                assert all(word != "self" for word in inspect.signature(method).parameters)


def test_every_exported_name_exists() -> None:
    assert all(hasattr(agent_runtime, name) for name in agent_runtime.__all__)
    assert len(set(agent_runtime.__all__)) == len(agent_runtime.__all__)


def test_the_example_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    log = b'event: delta\ndata: {"turn": 1, "attempt": 1, "index": 0, "text": "Ticket 7"}\n\n'
    log += b'id: 1\ndata: {"seq": 1, "type": "run.completed"}\n\n'
    api = ScriptedApi(ok(run(), 202), events([log]), ok(run("completed", output="Ticket 7")))
    http = httpx.Client(transport=httpx.MockTransport(api), base_url=URL)
    example = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    monkeypatch.setenv("AGENT_RUNTIME_TOKEN", "secret-token")
    monkeypatch.setattr(agent_runtime, "Client", lambda url, token: Client(url, token, http=http, retry=AT_ONCE))
    exec(compile(example[1], str(README), "exec"), {})  # noqa: S102 - the package's own example
    assert capsys.readouterr().out == "Ticket 7\n1 run.completedcompleted Ticket 7 0\n"
