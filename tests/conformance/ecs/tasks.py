"""Task definitions and services of rendered templates, in one place whatever file they stand in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.conformance.ecs.templates import Properties, Stack

TASK, SERVICE = "AWS::ECS::TaskDefinition", "AWS::ECS::Service"


@dataclass(frozen=True)
class Container:
    """A container with the task that it is part of."""

    stack: str
    task: str
    definition: Properties

    @property
    def name(self) -> str:
        return str(self.definition["Name"])

    @property
    def place(self) -> str:
        return f"{self.stack}.{self.task}.{self.name}"


def task_definitions(stacks: Iterable[Stack]) -> Iterator[tuple[str, str, Properties]]:
    for stack in stacks:
        for name, task in stack.of_type(TASK).items():
            yield stack.template.name, name, task


def containers(stacks: Iterable[Stack]) -> list[Container]:
    found = []
    for stack, task, definition in task_definitions(stacks):
        found += [Container(stack, task, each) for each in definition["ContainerDefinitions"]]
    return found


def services(stacks: Iterable[Stack]) -> Iterator[tuple[str, str, Properties, Properties]]:
    """Stack, name, service, and the task definition that it runs."""
    for stack in stacks:
        tasks = stack.of_type(TASK)
        for name, service in stack.of_type(SERVICE).items():
            yield stack.template.name, name, service, tasks[service["TaskDefinition"].strip("${}")]


def names(pairs: Iterable[dict[str, Any]]) -> set[str]:
    return {str(pair["Name"]) for pair in pairs}
