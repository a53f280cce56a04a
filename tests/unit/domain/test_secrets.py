"""How specs name secrets, and which values can be kept."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from libs.domain.agents import AgentSpec
from libs.domain.secrets import Revealed, SecretMissing, unusable

TOOL = {"type": "http", "name": "look", "description": "Looks.", "effect": "read", "method": "GET", "url": "http://x/"}


def test_a_spec_says_where_it_names_secrets() -> None:
    headers: dict[str, Any] = {"Authorization": {"secret": "crm", "prefix": "Bearer "}, "X-Plain": "v"}
    spec = AgentSpec.model_validate(
        {"model": "p/m", "provider_key": {"secret": "openai"}, "tools": [{**TOOL, "headers": headers}]}
    )
    assert spec.secrets == {"/provider_key": "openai", "/tools/0/headers/Authorization": "crm"}
    assert AgentSpec.model_validate({"model": "p/m", "tools": [TOOL]}).secrets == {}


@pytest.mark.parametrize(
    "header",
    [
        {"secret": "no spaces"},
        {"secret": ""},
        {"secret": "1st"},
        {"secret": "ok", "prefix": " leading"},
        {"secret": "ok", "prefix": "line\n"},
        {"secret": "ok", "suffix": "x"},
        {"prefix": "Bearer "},
        None,
        7,
    ],
)
def test_headers_that_name_no_secret_properly_are_refused(header: Any) -> None:
    with pytest.raises(ValidationError):
        AgentSpec.model_validate({"model": "p/m", "tools": [{**TOOL, "headers": {"A": header}}]})


@pytest.mark.parametrize(
    "value", ["qwzx", "x" * 4001, "has\nbreaks in it", " leading-space", "ünïcödé-value", "%41%41%41"]
)
def test_values_that_cannot_be_kept(value: str) -> None:
    problem = unusable(value)
    assert problem
    assert value not in problem


def test_values_that_can_be_kept() -> None:
    assert unusable("sk-12345678") is None
    assert unusable("dXNlcjpwYXNzd29yZA==") is None


def test_a_missing_secret_says_what_to_do() -> None:
    revealed = Revealed({"a": "value-of-a"}, {"b": "it cannot be decrypted: the key is gone"})
    assert revealed.value("a") == "value-of-a"
    with pytest.raises(SecretMissing, match="secret b, but it cannot be decrypted"):
        revealed.value("b")
    with pytest.raises(SecretMissing, match=r"it does not exist.*agent-runtime secrets set c"):
        revealed.value("c")
    assert "value-of-a" not in repr(revealed)
