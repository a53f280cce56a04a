"""What docker-compose.yml and the templates each say of a service, in one form, and where they say different things."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tests.conformance.ecs.checks import RANGES
from tests.conformance.ecs.tasks import containers, names, services
from tests.conformance.ecs.templates import DIRECTORY, Properties, Stack

Items = frozenset[str]
FILES = "files"  # the container that only ECS has, see libs/settings/files.py
STATES = {"SUCCESS": "service_completed_successfully", "HEALTHY": "service_healthy"}


@dataclass(frozen=True)
class Said:
    """One service; every field a set of texts, so that a difference is what one side has and the other has not."""

    image: Items
    entrypoint: Items
    command: Items
    user: Items
    root_file_system: Items
    capabilities: Items
    ports: Items
    environment: Items
    health: Items
    stop: Items
    dependencies: Items


@dataclass(frozen=True)
class Difference:
    service: str
    field: str
    compose: Items
    ecs: Items


def seconds(text: str | int) -> int:
    parts = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * parts[unit] for number, unit in re.findall(r"(\d+)([hms])", str(text)))


def _words(command: Any) -> Items:
    if command is None:
        return frozenset()
    return frozenset({shlex.join(shlex.split(command) if isinstance(command, str) else command)})


def _health(test: list[str], numbers: Mapping[str, int]) -> Items:
    """ECS has a highest number of retries and a longest start; what compose says above them counts as them."""
    clamped = {name: min(number, RANGES[name][1]) for name, number in numbers.items()}
    return frozenset({shlex.join(test), *(f"{name}={number}" for name, number in clamped.items())})


# -- compose -----------------------------------------------------------------------------------------------------------


def of_compose(rendered: Mapping[str, Properties]) -> dict[str, Said]:
    return {name: _of_service(service) for name, service in rendered.items()}


def _of_service(service: Properties) -> Said:
    image = service["image"].removeprefix("agent-runtime-")
    ports = [
        str(port["target"]) if isinstance(port, dict) else str(port).rpartition(":")[2]
        for port in service.get("ports", ())
    ]
    check = service.get("healthcheck")
    numbers = (
        {
            "Interval": seconds(check["interval"]),
            "Timeout": seconds(check["timeout"]),
            "Retries": check["retries"],
            "StartPeriod": seconds(check["start_period"]),
        }
        if check
        else {}
    )
    return Said(
        image=frozenset({image.rpartition(":")[0] if image != service["image"] else image}),
        entrypoint=_words(service.get("entrypoint")),
        command=_words(service.get("command")),
        user=frozenset({service.get("user", "the image's")}),
        root_file_system=frozenset({"read-only" if service.get("read_only") else "writable"}),
        capabilities=frozenset(f"without {each}" for each in service.get("cap_drop", ())),
        ports=frozenset([*ports, *map(str, service.get("expose", ()))]),
        environment=frozenset(service.get("environment") or ()),
        health=_health(check["test"], numbers) if check else frozenset(),
        stop=frozenset({str(seconds(service.get("stop_grace_period", "10s")))}),
        dependencies=frozenset(f"{name}: {each['condition']}" for name, each in service.get("depends_on", {}).items()),
    )


# -- ECS ---------------------------------------------------------------------------------------------------------------


def of_ecs(stacks: Mapping[str, Stack], script: str) -> dict[str, Said]:
    order = dict(_ready(stacks, script))
    return {
        each.name: _of_container(each.definition, order.get(each.name, frozenset()))
        for each in containers(stacks.values())
        if each.name != FILES
    }


def _of_container(container: Properties, dependencies: Items) -> Said:
    check = container.get("HealthCheck")
    linux = container.get("LinuxParameters", {}).get("Capabilities", {}).get("Drop", ())
    return Said(
        image=frozenset({_origin(container["Image"])}),
        entrypoint=_words(container.get("EntryPoint")),
        command=_words(container.get("Command")),
        user=frozenset({container.get("User", "the image's")}),
        root_file_system=frozenset({"read-only" if container.get("ReadonlyRootFilesystem") else "writable"}),
        capabilities=frozenset(f"without {each}" for each in linux),
        ports=frozenset(str(each["ContainerPort"]) for each in container.get("PortMappings", ())),
        environment=frozenset(names([*container.get("Environment", ()), *container.get("Secrets", ())])),
        health=_health(check["Command"], {name: check[name] for name in RANGES}) if check else frozenset(),
        stop=frozenset({str(container.get("StopTimeout", 30))}),
        dependencies=dependencies,
    )


def _origin(image: str) -> str:
    """The image that compose names: what an image made for ECS only adds files to counts as its base."""
    name = image.rpartition("/")[2].rpartition(":")[0]
    own = DIRECTORY / "images" / name / "Dockerfile"
    if not own.exists():
        return name
    (base,) = re.findall(r"^FROM (\S+)$", own.read_text(encoding="utf-8"), re.MULTILINE)
    return str(base)


def _ready(stacks: Mapping[str, Stack], script: str) -> Iterator[tuple[str, Items]]:
    """For each container, what is there when it starts: by its task, by its stack, by the order of the script."""
    steps = re.findall(r"^(?:if .*?; else )?(stack|job|settled) ([a-z ]+?)(?:; fi)?$", script, re.MULTILINE)
    tasks: dict[str, list[Properties]] = {}
    for each in containers(stacks.values()):
        tasks.setdefault(each.task, []).append(each.definition)
    before: set[str] = set()
    for step, what in steps:
        if step == "settled":
            before |= {f"{name}: service_healthy" for name in what.split()}
        elif step == "job":
            members = tasks[f"{'Migration' if what == 'migrations' else 'Setup'}Task"]
            yield from ((each["Name"], frozenset(before | _waited(each))) for each in members)
            before |= {f"{each['Name']}: service_completed_successfully" for each in members}
        else:
            for _, name, _, task in services([stacks[what]]):
                deployed = {
                    f"{other.removesuffix('Service').lower()}: service_healthy"
                    for other in stacks[what].resources[name].get("DependsOn", ())
                    if other.endswith("Service")
                }
                members = task["ContainerDefinitions"]
                yield from ((each["Name"], frozenset(before | deployed | _waited(each))) for each in members)


def _waited(container: Properties) -> set[str]:
    return {f"{each['ContainerName']}: {STATES[each['Condition']]}" for each in container.get("DependsOn", ())}


# -- both --------------------------------------------------------------------------------------------------------------


def differences(compose: Mapping[str, Said], ecs: Mapping[str, Said]) -> list[Difference]:
    """Of services that both have. Of dependencies only those that compose has and ECS does not honour."""
    found = []
    for name in sorted(compose.keys() & ecs.keys()):
        for field in fields(Said):
            ours: Items = getattr(compose[name], field.name)
            theirs: Items = getattr(ecs[name], field.name)
            spare = frozenset() if field.name == "dependencies" else theirs - ours
            if ours - theirs or spare:
                found.append(Difference(name, field.name, ours - theirs, spare))
    return found
