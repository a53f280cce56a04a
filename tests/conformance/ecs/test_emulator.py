"""The templates are made on an emulator, one after another, and what it then tells is what was rendered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from tests.conformance.ecs import emulator
from tests.conformance.ecs.tasks import TASK
from tests.conformance.ecs.templates import NAMES, Template, stacks
from tests.conformance.ecs.test_shapes import as_sent

REGION = "us-east-1"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Makes a client of a service."""
    directory = tmp_path_factory.mktemp("ministack")
    with emulator.running(directory) as url:

        def client(service: str) -> Any:
            access: dict[str, Any] = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
            config = Config(retries={"max_attempts": 1}, read_timeout=60)
            return boto3.client(service, endpoint_url=url, region_name=REGION, config=config, **access)  # type: ignore[call-overload]  # any service

        yield client


def _described(ecs: Any, arn: str) -> dict[str, Any]:
    return _asked(ecs, "DescribeTaskDefinition", taskDefinition=arn)["taskDefinition"]  # type: ignore[no-any-return]  # JSON


def _asked(ecs: Any, operation: str, **request: Any) -> Any:
    """Without botocore, which drops what the emulator keeps under CloudFormation's names."""
    headers = {
        "X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{operation}",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/ecs/aws4_request",
    }
    answer = httpx.post(ecs.meta.endpoint_url, json=request, headers=headers, timeout=30)
    return as_sent(answer.raise_for_status().json())


def _settled(formation: Any, stack: str) -> str:
    for _ in range(600):
        status = str(formation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
        if not status.endswith("IN_PROGRESS"):
            return status
        time.sleep(0.1)
    return status


def _failures(formation: Any, stack: str) -> list[str]:
    events = formation.describe_stack_events(StackName=stack)["StackEvents"]
    return [
        f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason')}"
        for each in events
        if "FAILED" in each["ResourceStatus"]
    ]


@pytest.fixture(scope="module")
def made(aws: Any) -> dict[str, list[dict[str, Any]]]:
    """The resources of each stack."""
    formation, found = aws("cloudformation"), {}
    for name in NAMES:
        body, _ = emulator.for_emulator(name)
        stack = f"agent-runtime-{name}"
        formation.create_stack(
            StackName=stack,
            TemplateBody=body,
            Parameters=emulator.parameters(name),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        assert _settled(formation, stack) == "CREATE_COMPLETE", _failures(formation, stack)
        found[name] = formation.describe_stack_resources(StackName=stack)["StackResources"]
    return found


def test_every_resource_is_made(made: dict[str, list[dict[str, Any]]]) -> None:
    for name, resources in made.items():
        _, left_out = emulator.for_emulator(name)
        wanted = stacks()[name].resources.keys() - set(left_out)
        assert {each["LogicalResourceId"] for each in resources} == wanted
        assert {each["ResourceStatus"] for each in resources} == {"CREATE_COMPLETE"}


def test_what_is_lacking_is_lacking_and_nothing_else_is_left_out() -> None:
    used = {resource["Type"] for name in NAMES for resource in Template.read(name).resources.values()}
    assert used >= emulator.LACKING, "the list of what the emulator lacks names what no template uses"


def test_tasks_are_registered_as_rendered(aws: Any, made: dict[str, list[dict[str, Any]]]) -> None:
    ecs, looked_at = aws("ecs"), 0
    for name, resources in made.items():
        rendered = stacks()[name].of_type(TASK)
        for each in resources:
            if each["ResourceType"] != TASK:
                continue
            task = _described(ecs, each["PhysicalResourceId"])
            wanted = rendered[each["LogicalResourceId"]]["ContainerDefinitions"]
            assert [container["name"] for container in task["containerDefinitions"]] == [one["Name"] for one in wanted]
            for container, one in zip(task["containerDefinitions"], wanted, strict=True):
                assert {pair["name"] for pair in container.get("environment", ())} == {
                    pair["Name"] for pair in one.get("Environment", ())
                }
                for secret in container.get("secrets", ()):
                    which = secret["valueFrom"].rsplit(":", 3)[0]
                    if secret["name"] not in ("PGUSER", "PGPASSWORD"):  # RDS makes that secret, the emulator does not
                        assert aws("secretsmanager").describe_secret(SecretId=which)["Name"], secret
                looked_at += 1
    assert looked_at >= 15


def test_services_run_in_the_cluster(aws: Any, made: dict[str, list[dict[str, Any]]]) -> None:
    ecs = aws("ecs")
    wanted = ["api", "keycloak", "kong", "temporal", "worker"]
    found = _asked(ecs, "DescribeServices", cluster="agent-runtime", services=wanted)["services"]
    assert sorted(each["serviceName"] for each in found) == wanted
    (kong,) = [each for each in found if each["serviceName"] == "kong"]
    assert kong["loadBalancers"][0]["containerPort"] == 8443


def test_the_databases_host_reaches_the_api(aws: Any, made: dict[str, list[dict[str, Any]]]) -> None:
    exports = {each["Name"]: each["Value"] for each in aws("cloudformation").list_exports()["Exports"]}
    (task,) = [each for each in made["services"] if each["LogicalResourceId"] == "ApiTask"]
    described = _described(aws("ecs"), task["PhysicalResourceId"])
    (api,) = [each for each in described["containerDefinitions"] if each["name"] == "api"]
    variables = {each["name"]: each["value"] for each in api["environment"]}
    host = exports["agent-runtime-database-host"]
    assert variables["DATABASE_URL"] == f"postgresql://agent_runtime_app@{host}:5432/agent_runtime"
    secrets = {each["name"]: each["valueFrom"] for each in api["secrets"]}
    assert secrets["DATABASE_PASSWORD"] == f"{exports['agent-runtime-secret-database-app']}:password::"


def test_passwords_are_made_by_the_secrets_manager(aws: Any, made: dict[str, list[dict[str, Any]]]) -> None:
    secrets = aws("secretsmanager")
    app, owner = (
        secrets.get_secret_value(SecretId=f"agent-runtime/database/{role}")["SecretString"] for role in ("app", "owner")
    )
    assert app != owner
    assert len(app) >= 48


def test_a_stack_whose_import_nobody_exports_is_refused(aws: Any, made: dict[str, list[dict[str, Any]]]) -> None:
    body, _ = emulator.for_emulator("identity")
    formation = aws("cloudformation")
    formation.create_stack(
        StackName="other-identity",
        TemplateBody=body,
        Parameters=[{"ParameterKey": "Platform", "ParameterValue": "other"}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    assert _settled(formation, "other-identity") != "CREATE_COMPLETE"
    assert any("import" in each.lower() or "export" in each.lower() for each in _failures(formation, "other-identity"))
