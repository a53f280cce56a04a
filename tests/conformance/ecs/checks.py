"""What must hold of the templates and what cfn-lint does not see; each check gives the flaws that it finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.conformance.ecs.guarding import (
    encryption,
    execution_roles,
    files,
    private_files,
    reachable_ports,
    rights,
    secrets,
    security_groups,
)
from tests.conformance.ecs.tasks import containers, services, task_definitions
from tests.conformance.ecs.templates import Properties, Stack

Stacks = Mapping[str, Stack]
Check = Callable[[Stacks], Iterator[str]]
RANGES = {"Interval": (5, 300), "Timeout": (2, 120), "Retries": (1, 10), "StartPeriod": (0, 300)}
CONDITIONS = {"START", "COMPLETE", "SUCCESS", "HEALTHY"}
WORKER_SHUTDOWN = 10  # seconds that a worker needs beyond its grace to hand over and leave


def port_names(stacks: Stacks) -> Iterator[str]:
    """Service Connect and the load balancer name ports that the task has; the load balancer names a container of it."""
    for stack, name, service, task in services(stacks.values()):
        mapped = [
            (each["Name"], port) for each in task["ContainerDefinitions"] for port in each.get("PortMappings", ())
        ]
        known = {port.get("Name") for _, port in mapped}
        for offered in service.get("ServiceConnectConfiguration", {}).get("Services", ()):
            if offered["PortName"] not in known:
                yield f"{stack}.{name}: no port is named {offered['PortName']}"
        for target in service.get("LoadBalancers", ()):
            if not any(
                container == target["ContainerName"] and port["ContainerPort"] == target["ContainerPort"]
                for container, port in mapped
            ):
                yield f"{stack}.{name}: {target['ContainerName']} has no port {target['ContainerPort']}"
        if len(known) != len(mapped):
            yield f"{stack}.{name}: a port without a name, or a name twice"


def health_checks(stacks: Stacks) -> Iterator[str]:
    """Ranges that ECS refuses only when it registers the task; whatever a service keeps running has a check."""
    for container in containers(stacks.values()):
        health = container.definition.get("HealthCheck", {})
        for key, (least, most) in RANGES.items():
            if key in health and not least <= health[key] <= most:
                yield f"{container.place}: {key} of its health check is {health[key]}, not {least} to {most}"
        if health and health["Command"][0] not in ("CMD", "CMD-SHELL"):
            yield f"{container.place}: its health check begins with neither CMD nor CMD-SHELL"
        if health and health["Timeout"] > health["Interval"]:
            yield f"{container.place}: its health check may take longer than its interval"
    for stack, name, _, task in services(stacks.values()):
        if not any("HealthCheck" in each for each in task["ContainerDefinitions"] if each["Essential"]):
            yield f"{stack}.{name}: nothing says whether it is ready"


def dependencies(stacks: Stacks) -> Iterator[str]:
    """A container waits for one of its own task, for a state that this one can reach, and never in a circle."""
    for stack, name, task in task_definitions(stacks.values()):
        known = {each["Name"]: each for each in task["ContainerDefinitions"]}
        for container in known.values():
            for needed in container.get("DependsOn", ()):
                place, target = f"{stack}.{name}.{container['Name']}", known.get(needed["ContainerName"])
                if target is None:
                    yield f"{place}: waits for {needed['ContainerName']}, which is not in its task"
                elif needed["Condition"] not in CONDITIONS:
                    yield f"{place}: waits for {needed['Condition']}, which is no condition"
                elif needed["Condition"] == "HEALTHY" and "HealthCheck" not in target:
                    yield f"{place}: waits until {target['Name']} is healthy, which has no health check"
                elif needed["Condition"] in ("SUCCESS", "COMPLETE") and target["Essential"]:
                    yield f"{place}: waits until {target['Name']} has ended, which is essential and would end the task"
                elif _waits_for(known, target["Name"], container["Name"]):
                    yield f"{place}: waits for {target['Name']}, which waits for it"
        if not any(each["Essential"] for each in known.values()):
            yield f"{stack}.{name}: no container is essential"


def _waits_for(known: Mapping[str, Properties], start: str, sought: str, seen: frozenset[str] = frozenset()) -> bool:
    if start == sought:
        return True
    needed = [each["ContainerName"] for each in known.get(start, {}).get("DependsOn", ())]
    return any(_waits_for(known, each, sought, seen | {start}) for each in needed if each not in seen)


def scaled_services(stacks: Stacks) -> Iterator[str]:
    """A count in the template would undo at each deployment what autoscaling did."""
    for name, target in stacks["services"].of_type("AWS::ApplicationAutoScaling::ScalableTarget").items():
        service = f"{target['ResourceId'].rpartition('/')[2].title()}Service"
        if "DesiredCount" in stacks["services"].resources[service]["Properties"]:
            yield f"services.{name}: {service} has a DesiredCount"


def networks(stacks: Stacks) -> Iterator[str]:
    """Tasks live in private subnets without addresses of their own."""
    for stack, name, service, _ in services(stacks.values()):
        network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
        if network.get("AssignPublicIp") != "DISABLED":
            yield f"{stack}.{name}: has a public address"
        if any("private-subnets" not in subnet for subnet in network["Subnets"]):
            yield f"{stack}.{name}: is not in the private subnets"
        if service.get("EnableExecuteCommand"):
            yield f"{stack}.{name}: lets people into its containers"


def long_requests(stacks: Stacks) -> Iterator[str]:
    """Nothing on the way ends a stream or a long poll."""
    for stack, name, service, task in services(stacks.values()):
        protocols = {
            port["Name"]: port.get("AppProtocol", "tcp")
            for each in task["ContainerDefinitions"]
            for port in each.get("PortMappings", ())
        }
        for offered in service.get("ServiceConnectConfiguration", {}).get("Services", ()):
            limit = offered.get("Timeout", {}).get("PerRequestTimeoutSeconds")
            if protocols.get(offered["PortName"]) != "tcp" and limit != 0:
                yield f"{stack}.{name}: Service Connect ends requests after {limit or 15} s"
    for name, balancer in stacks["services"].of_type("AWS::ElasticLoadBalancingV2::LoadBalancer").items():
        attributes = {each["Key"]: each["Value"] for each in balancer["LoadBalancerAttributes"]}
        if int(attributes.get("idle_timeout.timeout_seconds", 60)) < 120:
            yield f"services.{name}: ends a request that is silent for a minute"


def stopping(stacks: Stacks) -> Iterator[str]:
    """ECS waits for as long as a container needs; Fargate waits two minutes at most."""
    for container in containers(stacks.values()):
        limit = container.definition.get("StopTimeout", 30)
        if limit > 120:
            yield f"{container.place}: Fargate does not wait {limit} s"
        variables = {each["Name"]: each["Value"] for each in container.definition.get("Environment", ())}
        if "WORKER_GRACE_SECONDS" in variables and limit < float(variables["WORKER_GRACE_SECONDS"]) + WORKER_SHUTDOWN:
            yield f"{container.place}: is killed before its grace is over"


def logs(stacks: Stacks) -> Iterator[str]:
    """Every container logs without waiting, to a group that is made and forgets."""
    groups: dict[Any, Any] = {
        group["LogGroupName"]: group.get("RetentionInDays")
        for stack in stacks.values()
        for group in stack.of_type("AWS::Logs::LogGroup").values()
    }
    for name, days in groups.items():
        if not days:
            yield f"{name} is kept for ever"
    for container in containers(stacks.values()):
        options = container.definition.get("LogConfiguration", {}).get("Options", {})
        if options.get("awslogs-group") not in groups:
            yield f"{container.place}: its log group is not made"
        if options.get("mode") != "non-blocking":
            yield f"{container.place}: waits for its log"


def imports(stacks: Stacks) -> Iterator[str]:
    """What a template imports, one that is deployed before it exports."""
    exported: set[str] = set()
    for name, stack in stacks.items():
        for missing in sorted(set(re.findall(r"import:([a-z-]+)", str(stack.resources))) - exported):
            yield f"{name}: imports {missing}, which nothing before it exports"
        exported |= stack.exports.keys()


CHECKS: tuple[Check, ...] = (
    port_names,
    health_checks,
    dependencies,
    secrets,
    execution_roles,
    rights,
    security_groups,
    reachable_ports,
    encryption,
    files,
    private_files,
    scaled_services,
    networks,
    long_requests,
    stopping,
    logs,
    imports,
)


def flaws(stacks: Stacks) -> list[str]:
    return [flaw for check in CHECKS for flaw in check(stacks)]
