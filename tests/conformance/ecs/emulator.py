"""MiniStack, an emulator of AWS from PyPI, on this machine's own address; and the templates without what it lacks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.embedded.ports import LOOPBACK
from tests.conformance.ecs.templates import GIVEN, Template

# Types that it cannot make: cfn-lint checks them by their schema, and that is all that is known of them here.
LACKING = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::EC2::EIP",
    "AWS::EC2::NatGateway",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::ElastiCache::ParameterGroup",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::ElastiCache::SubnetGroup",
    "AWS::Logs::MetricFilter",
    "AWS::RDS::DBParameterGroup",
    "AWS::RDS::DBSubnetGroup",
    "AWS::ServiceDiscovery::PrivateDnsNamespace",
    "AWS::ServiceDiscovery::Service",
}
# Properties of types that it knows otherwise: alarms that reckon with several metrics.
LACKING_PROPERTIES = {("AWS::CloudWatch::Alarm", "Metrics")}
START_SECONDS = 60


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """Its address."""
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
    own = {"BIND_HOST": LOOPBACK, "GATEWAY_PORT": str(port), "HOME": str(directory), "TMPDIR": str(directory)}
    # No container engine: only what the API itself does is wanted.
    own["DOCKER_HOST"] = f"unix://{directory}/none.sock"
    environment = {**os.environ, **own}
    with open(directory / "ministack.log", "wb") as log:
        command = [str(Path(sys.executable).with_name("ministack"))]
        process = subprocess.Popen(command, env=environment, cwd=directory, stdout=log, stderr=log)
        try:
            url = f"http://{LOOPBACK}:{port}"
            _await(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(f"{url}/_ministack/health", timeout=5)
            return
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)


def _lacks(resource: dict[str, Any]) -> bool:
    kind, properties = resource["Type"], resource.get("Properties", {})
    return kind in LACKING or any((kind, each) in LACKING_PROPERTIES for each in properties)


def for_emulator(name: str) -> tuple[str, list[str]]:
    """The template as JSON without what is lacking, and the names of what was left out."""
    template = Template.read(name)
    left_out = [each for each, resource in template.resources.items() if _lacks(resource)]
    content = _without(template.content, set(left_out))
    content["Resources"] = {each: value for each, value in content["Resources"].items() if each not in left_out}
    for resource in content["Resources"].values():
        needed = resource.pop("DependsOn", [])
        kept = [each for each in ([needed] if isinstance(needed, str) else needed) if each not in left_out]
        if kept:
            resource["DependsOn"] = kept
        count = resource.get("Properties", {}).get("DesiredCount")
        if count:  # the emulator reckons with the text that a parameter is
            resource["Properties"]["DesiredCount"] = content["Parameters"][count["Ref"]]["Default"]
    return json.dumps(content), left_out


def _without(value: Any, left_out: set[str]) -> Any:
    """A reference to what is left out becomes a text in its place."""
    if isinstance(value, list):
        return [_without(each, left_out) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("Ref") in left_out:
        return f"without-{value['Ref']}"
    attribute = value.get("Fn::GetAtt")
    if attribute and attribute[0] in left_out:
        return "-".join(["without", *attribute])
    if "Fn::Sub" in value and isinstance(value["Fn::Sub"], str):
        text = value["Fn::Sub"]
        for each in left_out:
            text = text.replace(f"${{{each}}}", f"without-{each}")
        return {"Fn::Sub": text}
    return {key: _without(each, left_out) for key, each in value.items()}


def parameters(name: str, **own: Any) -> list[dict[str, str]]:
    declared = Template.read(name).content["Parameters"]
    given = {**GIVEN, **own}
    return [{"ParameterKey": each, "ParameterValue": str(given[each])} for each in declared if each in given]
