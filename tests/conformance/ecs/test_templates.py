"""The templates are what AWS takes, and what cfn-lint does not see holds; each check notices what it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from libs.settings.database import MigrationSettings
from libs.settings.environment import Environment
from libs.settings.gateway import GatewaySettings
from services.api.settings import ApiSettings
from services.worker.settings import WorkerSettings
from tests.conformance.ecs import checks, guarding
from tests.conformance.ecs.tasks import containers, names
from tests.conformance.ecs.templates import DIRECTORY, NAMES, Stack, Template, stacks

EVERYTHING = {
    "OwnTemporal": "false",
    "TemporalAddress": "us-east-1.aws.api.temporal.io:7233",
    "LangfuseHost": "https://langfuse.example.com",
    "SecondModelKeyName": "AWS_BEARER_TOKEN_BEDROCK",
    "TwoZones": "true",
    "NatPerZone": "true",
    "PrivateEndpoints": "true",
    "PrivateCa": "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/1",
    "AlarmTopic": "arn:aws:sns:us-east-1:123456789012:alarms",
    "KeycloakCount": 2,
    "DatabaseSnapshot": "before",
}


def test_cfn_lint_has_nothing_to_say() -> None:
    files = [str(DIRECTORY / f"{name}.yaml") for name in NAMES]
    program = str(Path(sys.executable).with_name("cfn-lint"))
    said = subprocess.run([program, "--include-checks", "I", "--", *files], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, ""), said.stdout + said.stderr


def test_every_template_is_known() -> None:
    assert {path.stem for path in DIRECTORY.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("parameters", [{}, EVERYTHING], ids=["as it comes", "with everything"])
def test_the_templates_hold_what_is_wanted(parameters: dict[str, Any]) -> None:
    assert checks.flaws(stacks(**parameters)) == []


def test_no_role_may_read_what_its_tasks_do_not_need() -> None:
    assert list(guarding.spare_rights([stacks(), stacks(**EVERYTHING)])) == []


class Mutation(NamedTuple):
    """A change of a template, and what is said of it."""

    check: checks.Check
    template: str
    old: str
    new: str
    said: str


MUTATIONS = [
    Mutation(getattr(checks, each.pop("check")), **each)
    for each in yaml.safe_load(Path(__file__).with_name("mutations.yaml").read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: f"{each.check.__name__}-{each.said.replace(' ', '_')}")
def test_a_mutation_is_noticed(mutation: Mutation) -> None:
    text = (DIRECTORY / f"{mutation.template}.yaml").read_text(encoding="utf-8")
    assert mutation.old in text, "the mutation is of what the template no longer says"
    changed = stacks()
    changed[mutation.template] = Stack(Template.parse(mutation.template, text.replace(mutation.old, mutation.new, 1)))
    assert any(mutation.said in flaw for flaw in mutation.check(changed)), list(mutation.check(changed))


def test_every_check_has_a_mutation() -> None:
    assert {mutation.check for mutation in MUTATIONS} == set(checks.CHECKS)


def test_a_right_too_many_is_noticed() -> None:
    text = (DIRECTORY / "identity.yaml").read_text(encoding="utf-8")
    line = '                  - !ImportValue {"Fn::Sub": "${Platform}-secret-redis"}\n'
    more = text.replace(line, line + line.replace("redis", "database-owner"), 1)
    changed = stacks() | {"identity": Stack(Template.parse("identity", more))}
    assert any(
        "gateway may read agent-runtime-secret-database-owner" in flaw for flaw in guarding.spare_rights([changed])
    )


def test_every_variable_of_our_programs_is_read_by_them() -> None:
    programs: dict[str, type[Environment]] = {
        "api": ApiSettings,
        "worker": WorkerSettings,
        "migrations": MigrationSettings,
        "kong": GatewaySettings,
    }
    elsewhere = {"DEPLOYMENT", "OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"}
    for container in containers(stacks(**EVERYTHING).values()):
        if settings := programs.get(container.name):
            known = {name.upper() for name in settings.model_fields} | elsewhere
            given = names([*container.definition.get("Environment", ()), *container.definition.get("Secrets", ())])
            assert {each for each in given if not each.startswith("KONG_")} <= known, container.place
