"""Prompts read by LangFuse's own SDK from a stand-in of its API."""

from __future__ import annotations

import time

import httpx
import pytest

from libs.clients.langfuse import Prompts, PromptUnusable
from libs.domain.agents import PromptReference
from libs.domain.errors import DependencyUnavailable
from libs.settings.traces import ProjectsSettings, Tenancy, load_destinations
from tests.fixtures.langfuse import KEYS, Fault, StandIn


def prompts(langfuse: StandIn, seconds: float = 5.0, **changed: str) -> Prompts:
    values = {name.lower(): value for name, value in KEYS.items()} | changed
    destinations = load_destinations(ProjectsSettings.model_validate({"langfuse_host": "http://langfuse", **values}))
    assert destinations is not None
    elsewhere = destinations.model_copy(update={"tenants": {"untraced": Tenancy(project="none")}})
    return Prompts(elsewhere, transport=httpx.ASGITransport(langfuse.app), seconds=seconds)


async def test_a_label_and_a_version_name_a_text_and_nothing_is_cached() -> None:
    langfuse = StandIn()
    langfuse.add("support/greeting", "Be kind.", "production")
    reader = prompts(langfuse)
    wanted = PromptReference(prompt="support/greeting")
    assert await reader.read("acme", wanted) == ("support/greeting", 1, "Be kind.")
    langfuse.add("support/greeting", "Be brief.", "production")
    assert await reader.read("acme", wanted) == ("support/greeting", 2, "Be brief.")
    assert (await reader.read("acme", PromptReference(prompt="support/greeting", version=1))).text == "Be kind."
    assert (await reader.read("acme", PromptReference(prompt="support/greeting", label="latest"))).version == 2
    assert langfuse.asked == ["label=production", "label=production", "version=1", "label=latest"]
    await reader.close()


@pytest.mark.parametrize(
    ("name", "label", "why"),
    [
        ("missing", None, "There is no prompt missing with a version labelled production in LangFuse."),
        ("there", "staging", "There is no prompt there with a version labelled staging in LangFuse."),
        ("chat", None, "The prompt chat is a chat prompt."),
        ("open", None, r"The prompt open has variables \(tone, name\)"),
    ],
)
async def test_what_cannot_be_instructions_is_told(name: str, label: str | None, why: str) -> None:
    langfuse = StandIn()
    langfuse.add("there", "x", "production")
    langfuse.add("chat", [{"type": "chatmessage", "role": "system", "content": "x"}], "production")
    langfuse.add("open", "Be {{tone}} to {{ name }}, {{tone}}.", "production")
    with pytest.raises(PromptUnusable, match=why):
        await prompts(langfuse).read("acme", PromptReference(prompt=name, label=label))


@pytest.mark.parametrize("fault", [Fault(500, body="secret"), Fault(429), Fault(200, body="{}"), Fault(200, body="no")])
async def test_a_failing_langfuse_is_told_as_such_and_not_quoted(fault: Fault) -> None:
    with pytest.raises(DependencyUnavailable) as raised:
        await prompts(StandIn(fault=fault)).read("acme", PromptReference(prompt="p"))
    assert raised.value.dependency == "langfuse"
    assert "secret" not in raised.value.detail


async def test_a_hanging_langfuse_is_given_up_soon() -> None:
    began = time.monotonic()
    with pytest.raises(DependencyUnavailable, match="does not answer"):
        await prompts(StandIn(fault=Fault(hang=30)), seconds=0.2).read("acme", PromptReference(prompt="p"))
    assert time.monotonic() - began < 10


async def test_keys_that_are_not_accepted_are_the_administrators_matter() -> None:
    with pytest.raises(DependencyUnavailable, match="does not accept the keys"):
        await prompts(StandIn(), langfuse_secret_key="wrong").read("acme", PromptReference(prompt="p"))


async def test_a_tenant_without_a_project_has_no_prompts() -> None:
    langfuse = StandIn()
    with pytest.raises(PromptUnusable, match="has no LangFuse project"):
        await prompts(langfuse).read("untraced", PromptReference(prompt="p"))
    assert not langfuse.asked
