"""docker-compose.yml and the templates say the same of every service, but for what `differences.yaml` declares."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.ecs import comparing
from tests.conformance.ecs.comparing import Difference, Said
from tests.conformance.ecs.templates import DIRECTORY, Stack, Template, stacks
from tests.fixtures.compose import rendering

COMPOSE_COMMAND = ["docker", "compose"] if shutil.which("docker") else []
if COMPOSE_COMMAND and subprocess.run([*COMPOSE_COMMAND, "version"], capture_output=True).returncode:
    COMPOSE_COMMAND = []
HERE = Path(__file__).parent
SCRIPT = (DIRECTORY / "deploy").read_text(encoding="utf-8")
DECLARED: dict[str, Any] = yaml.safe_load((HERE / "differences.yaml").read_text(encoding="utf-8"))
MUTATIONS: list[dict[str, str]] = yaml.safe_load((HERE / "unequal.yaml").read_text(encoding="utf-8"))
# What is given only where it is asked for, compose always gives, empty.
ASKED: dict[str, Any] = {"LangfuseHost": "https://langfuse.example.com"}
COMPOSE = comparing.of_compose(rendering.services())
ECS = comparing.of_ecs(stacks(**ASKED), SCRIPT)


def declared() -> list[Difference]:
    """Of each service and field all that is declared, together."""
    found: dict[tuple[str, str], Difference] = {}
    for each in DECLARED["differences"]:
        for service in each["services"]:
            known = found.get((service, each["field"]), Difference(service, each["field"], frozenset(), frozenset()))
            found[service, each["field"]] = replace(
                known,
                compose=known.compose | frozenset(each.get("compose", ())),
                ecs=known.ecs | frozenset(each.get("ecs", ())),
            )
    return list(found.values())


def test_they_differ_where_it_is_declared_and_nowhere_else() -> None:
    assert set(comparing.differences(COMPOSE, ECS)) == set(declared())


@pytest.mark.skipif(
    not COMPOSE_COMMAND, reason="no docker compose here; the file is rendered by tests/fixtures/compose"
)
def test_docker_compose_itself_renders_the_same() -> None:
    """`docker compose config` needs no engine."""
    command = [*COMPOSE_COMMAND, "--env-file", os.devnull, "--profile", "*", "config", "--format", "json"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    done = subprocess.run(command, cwd=rendering.ROOT, env=environment, capture_output=True, text=True, check=True)
    assert comparing.of_compose(json.loads(done.stdout.replace("$$", "$"))["services"]) == COMPOSE


def test_what_compose_has_and_ecs_has_not_is_declared() -> None:
    assert COMPOSE.keys() - ECS.keys() == DECLARED["absent"].keys()
    assert ECS.keys() <= COMPOSE.keys()


def test_every_difference_has_its_reason() -> None:
    assert all(each["reason"] for each in DECLARED["differences"])
    assert all(DECLARED["absent"].values())


@pytest.mark.parametrize("side", ["compose", "ecs"])
def test_whatever_one_side_loses_is_noticed(side: str) -> None:
    """Every item of every field of every service, one after another."""
    accepted, looked_at = set(declared()), 0
    for service in sorted(ECS):
        for field in fields(Said):
            said: Said = (COMPOSE if side == "compose" else ECS)[service]
            items: frozenset[str] = getattr(said, field.name)
            for item in items:
                less = replace(said, **{field.name: items - {item}})
                one = {**COMPOSE, service: less} if side == "compose" else COMPOSE
                other = {**ECS, service: less} if side == "ecs" else ECS
                unneeded = field.name == "dependencies" and (
                    side == "compose" or item not in COMPOSE[service].dependencies
                )
                if not unneeded:
                    assert set(comparing.differences(one, other)) != accepted, f"{service} without {field.name} {item}"
                    looked_at += 1
    assert looked_at > 150


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: f"{each['file']}-{each['what'].replace(' ', '_')}")
def test_a_mutated_file_is_no_longer_equal(mutation: dict[str, str]) -> None:
    compose, ecs = COMPOSE, ECS
    if mutation["file"] == "compose":
        text = rendering.FILE.read_text(encoding="utf-8")
        assert mutation["old"] in text, "the mutation is of what the file no longer says"
        changed = rendering.render(text=text.replace(mutation["old"], mutation["new"], 1))["services"]
        compose = comparing.of_compose(changed)
    elif mutation["file"] == "deploy":
        assert mutation["old"] in SCRIPT
        ecs = comparing.of_ecs(stacks(**ASKED), SCRIPT.replace(mutation["old"], mutation["new"], 1))
    else:
        text = (DIRECTORY / f"{mutation['file']}.yaml").read_text(encoding="utf-8")
        assert mutation["old"] in text, "the mutation is of what the template no longer says"
        template = Template.parse(mutation["file"], text.replace(mutation["old"], mutation["new"], 1))
        ecs = comparing.of_ecs(stacks(**ASKED) | {mutation["file"]: Stack(template, ASKED)}, SCRIPT)
    assert set(comparing.differences(compose, ecs)) != set(declared())
