"""Which specs are agents, and which limits hold for a run."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.domain.agents import MAX_INSTRUCTIONS, MAX_TOOLS, AgentSpec, Limits, digest
from tests.unit.domain.logs import brief

TOOL = {"type": "http", "name": "look", "description": "Looks.", "effect": "read", "method": "GET", "url": "http://x/"}


def made(**changed: Any) -> AgentSpec:
    return AgentSpec.model_validate({"model": "local/smol"} | changed)


def test_a_model_is_enough() -> None:
    spec = made()
    assert (spec.instructions, spec.tools, spec.output_schema, spec.limits) == ("", (), None, Limits())


def test_a_models_name_may_hold_slashes_and_colons() -> None:
    spec = made(model="open-router/meta/llama-4:free")
    assert (spec.provider, spec.model_name) == ("open-router", "meta/llama-4:free")


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "no-provider"},
        {"model": "/smol"},
        {"model": "local/"},
        {"model": "Local/smol"},
        {"model": "local/has space"},
        {"model": "local/x\x00"},
        {"model": None},
        {"temprature": 1},
        {"parameters": {"temperature": 3}},
        {"parameters": {"temperature": float("nan")}},
        {"parameters": {"top_p": 0}},
        {"parameters": {"max_tokens": 0}},
        {"parameters": {"seed": 2**63}},
        {"parameters": {"stop": ["a"] * 5}},
        {"parameters": {"stop": [""]}},
        {"parameters": {"logit_bias": {}}},
        {"instructions": "x" * (MAX_INSTRUCTIONS + 1)},
        {"tools": [TOOL | {"name": f"f{n}"} for n in range(MAX_TOOLS + 1)]},
        {"tools": [TOOL, TOOL]},
        {"tools": [{"type": "artifacts"}, TOOL | {"name": "read_artifact"}]},
        {"tools": [{"type": "shell"}]},
        {"output_schema": {"type": "strange"}},
        {"output_schema": {"pattern": "("}},
        {"output_schema": {"$ref": "http://127.0.0.1:9/schema"}},
        {"output_schema": []},
        {"limits": {"steps": 0}},
        {"limits": {"tokens": -1}},
        {"limits": {"cost_usd": "0"}},
        {"limits": {"cost_usd": "NaN"}},
        {"limits": {"cost_usd": "Infinity"}},
        {"limits": {"seconds": 0.5}},
        {"limits": {"minutes": 1}},
    ],
    ids=str,
)
def test_what_is_not_an_agent(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(**changed)


def test_a_spec_comes_back_as_it_went() -> None:
    spec = made(
        tools=[TOOL, {"type": "artifacts"}],
        output_schema={"type": "object"},
        limits={"cost_usd": "0.10", "steps": 3},
        parameters={"temperature": 0, "stop": ["END"]},
    )
    assert AgentSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_spec_does_not_change() -> None:
    with pytest.raises(ValidationError):
        made().model = "other/model"  # type: ignore[misc]  # that is what is tested


def test_a_spec_names_no_more_secrets_than_can_be_looked_for() -> None:
    def naming(count: int) -> AgentSpec:
        headers = {f"X-{number}": {"secret": f"s{number}"} for number in range(count)}
        halves = [dict(list(headers.items())[at::2]) for at in (0, 1)]
        tools = [
            {"type": "http", "name": f"t{n}", "description": "d", "method": "GET", "url": "https://x.example",
             "effect": "read", "headers": half}
            for n, half in enumerate(halves)
        ]  # fmt: skip
        return made(tools=tools)

    assert len(naming(32).secrets) == 32
    with pytest.raises(ValidationError, match="more than 32 secrets"):
        naming(33)


LIMITS = st.builds(
    Limits,
    steps=st.none() | st.integers(1, 10_000),
    tokens=st.none() | st.integers(1, 10**12),
    cost_usd=st.none() | st.decimals("0.01", 100, places=2),
    seconds=st.none() | st.integers(1, 1000),
)


@brief
@given(LIMITS, LIMITS)
def test_of_two_limits_the_tighter_holds(mine: Limits, theirs: Limits) -> None:
    both = mine.within(theirs)
    assert both == theirs.within(mine)
    for name in Limits.model_fields:
        values = [v for v in (getattr(mine, name), getattr(theirs, name)) if v is not None]
        assert getattr(both, name) == (min(values) if values else None)


def test_the_digest_is_of_the_content() -> None:
    one = {"model": "a/b", "limits": {"steps": 1, "tokens": 2}}
    other = {"limits": {"tokens": 2, "steps": 1}, "model": "a/b"}
    assert digest(one) == digest(other)
    assert digest(one) != digest(one | {"instructions": "é"})
    assert digest(one).startswith("sha256:")
    assert made(limits={"cost_usd": "0.5"}).limits.cost_usd == Decimal("0.5")
