"""`deploy/ecs/deploy` with a stand-in for `aws` that writes down what it was asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conformance.ecs.templates import DIRECTORY, NAMES, Template

AWS = """#!/bin/sh
case "$1 $2" in
  "cloudformation deploy") shift 2; printf 'stack'; for each in "$@"; do printf '\\t%s' "$each"; done; echo ;;
  "ecs run-task") echo "task $6" ;;
  "ecs wait") echo "wait $3 $*" ;;
esac >> "$CALLS"
case "$1 $2" in
  "ecs run-task") echo arn:task ;;
  "cloudformation list-exports") echo subnet-a,subnet-b ;;
  "ecs describe-tasks") printf '%s' "$FAILED" ;;
esac
"""


def deploy(directory: Path, settings: str, failed: str = "") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    (directory / "aws").write_text(AWS)
    (directory / "aws").chmod(0o755)
    (directory / "settings").write_text(settings)
    calls = directory / "calls"
    environment = {"PATH": f"{directory}:{os.defpath}", "CALLS": str(calls), "FAILED": failed}
    command = [str(DIRECTORY / "deploy"), str(directory / "settings")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done, calls.read_text().splitlines() if calls.exists() else []


def example() -> str:
    return (DIRECTORY / "settings.example").read_text()


def test_stacks_and_tasks_come_in_the_order_in_which_they_need_each_other(tmp_path: Path) -> None:
    done, calls = deploy(tmp_path, example())
    assert done.returncode == 0, done.stderr
    steps = [call.split("\t")[2] if call.startswith("stack") else " ".join(call.split()[:2]) for call in calls]
    assert steps == [
        *(f"agent-runtime-{name}" for name in NAMES[:4]),
        "task agent-runtime-migrations",
        "wait tasks-stopped",
        "agent-runtime-servers",
        "wait services-stable",
        "task agent-runtime-setup",
        "wait tasks-stopped",
        "agent-runtime-services",
        "wait services-stable",
    ]


def test_each_template_is_given_what_it_declares_and_lacks_nothing(tmp_path: Path) -> None:
    _, calls = deploy(tmp_path, example() + "TwoZones=true\nOwnTemporal=false\n")
    for call in (call.split("\t") for call in calls if call.startswith("stack")):
        name = call[call.index("--stack-name") + 1].removeprefix("agent-runtime-")
        given = {each.split("=", 1)[0] for each in call[call.index("--parameter-overrides") + 1 :]}
        declared = Template.read(name).content["Parameters"]
        assert given <= declared.keys()
        assert {each for each, parameter in declared.items() if "Default" not in parameter} <= given
        assert ("TwoZones" in given) == (name == "data")
    (settled,) = [call for call in calls if "keycloak" in call and call.startswith("wait")]
    assert "temporal" not in settled.replace("agent-runtime", "")


def test_a_failed_migration_ends_it_before_anything_new_runs(tmp_path: Path) -> None:
    done, calls = deploy(tmp_path, example(), failed="migrations 1 Error")
    assert done.returncode == 1
    assert "migrations failed: migrations 1 Error; aws logs tail" in done.stderr
    assert not any("agent-runtime-servers" in call for call in calls)


@pytest.mark.parametrize("arguments", [[], ["/nowhere"]])
def test_without_settings_it_says_what_it_wants(arguments: list[str]) -> None:
    done = subprocess.run([str(DIRECTORY / "deploy"), *arguments], capture_output=True, text=True)
    assert done.returncode != 0
    assert "deploy/ecs/" in done.stderr
