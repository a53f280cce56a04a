"""Task definitions and services have the shapes that the API of ECS takes, by botocore's description of it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from tests.conformance.ecs.tasks import services, task_definitions
from tests.conformance.ecs.templates import stacks
from tests.conformance.ecs.test_templates import EVERYTHING

ECS = ServiceModel(Loader().load_service_model("ecs", "service-2"))
# Names that are data, not fields: options of a log driver.
MAPS = ("options",)


def as_sent(value: Any, inside: str = "") -> Any:
    """CloudFormation's names begin with a capital letter, the API's with a small one."""
    if isinstance(value, list):
        return [as_sent(each) for each in value]
    if not isinstance(value, dict):
        return value
    if inside in MAPS:
        return value
    return {name[:1].lower() + name[1:]: as_sent(each, name[:1].lower() + name[1:]) for name, each in value.items()}


def refused(operation: str, parameters: dict[str, Any]) -> str:
    shape = ECS.operation_model(operation).input_shape
    assert shape is not None
    report = ParamValidator().validate(parameters, shape)
    return str(report.generate_report())


def registration(task: dict[str, Any]) -> dict[str, Any]:
    sent: dict[str, Any] = as_sent(task)
    # CloudFormation takes numbers where the API takes text.
    sent["cpu"], sent["memory"] = str(sent["cpu"]), str(sent["memory"])
    for container in sent["containerDefinitions"]:
        for variable in container.get("environment", ()):
            variable["value"] = str(variable["value"])
    return sent


@pytest.mark.parametrize("parameters", [{}, EVERYTHING], ids=["as it comes", "with everything"])
def test_tasks_and_services_have_the_shapes_of_the_api(parameters: dict[str, Any]) -> None:
    rendered = stacks(**parameters)
    tasks = list(task_definitions(rendered.values()))
    assert len(tasks) == (6 if parameters.get("OwnTemporal") == "false" else 7)
    for stack, name, task in tasks:
        assert refused("RegisterTaskDefinition", registration(task)) == "", f"{stack}.{name}"
    for stack, name, service, _ in services(rendered.values()):
        sent = as_sent(service)
        sent["serviceConnectConfiguration"]["services"] = [
            {key: value for key, value in each.items() if key != "tls"}
            for each in sent["serviceConnectConfiguration"].get("services", ())
        ]
        assert refused("CreateService", sent) == "", f"{stack}.{name}"


def test_a_misspelled_field_is_noticed() -> None:
    _, _, task = next(task_definitions(stacks().values()))
    sent = registration(task)
    sent["containerDefinitions"][0]["healthcheck"] = {"command": "true"}
    assert "healthcheck" in refused("RegisterTaskDefinition", sent)
    sent = registration(task)
    sent["containerDefinitions"][1]["dependsOn"] = "files"
    assert "dependsOn" in refused("RegisterTaskDefinition", sent)
