"""Checks of what protects: secrets, rights, networks, encryption; each gives the flaws that it finds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tests.conformance.ecs.tasks import containers, names, services, task_definitions
from tests.conformance.ecs.templates import Properties, Stack

Stacks = Mapping[str, Stack]
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY$|_KEYS$|PRIVATE|CREDENTIAL|_PWD$|FILE_.*KEY|DATABASE_CA$")
SECRET_VALUE = re.compile(
    r"\$\{[^}]*(Password|Secret)[^}]*\}|import:[a-z-]*secret|resolve:secretsmanager|://[^/@]*:[^/@]*@"
)
PUBLIC = {"LoadBalancerGroup": {443, 80}}


def secrets(stacks: Stacks) -> Iterator[str]:
    """Secrets come by ARN and key, never as plain environment, whose value everybody sees who may describe a task."""
    for container in containers(stacks.values()):
        for variable in container.definition.get("Environment", ()):
            name, value = variable["Name"], str(variable["Value"])
            if (SECRET.search(name) and not name.endswith("_FILE")) or SECRET_VALUE.search(value):
                yield f"{container.place}: {name} is a secret in plain environment"
        for secret in container.definition.get("Secrets", ()):
            if not re.fullmatch(r"import:[a-z-]+:[A-Za-z_]+::", secret["ValueFrom"]):
                yield f"{container.place}: {secret['Name']} names no key of a secret"
        given = [*container.definition.get("Environment", ()), *container.definition.get("Secrets", ())]
        if len(names(given)) != len(given):
            yield f"{container.place}: a variable is given twice"


def execution_roles(stacks: Stacks) -> Iterator[str]:
    """A task's execution role may read the secrets of that task, and each role only what some task of its needs."""
    allowed = _readable(stacks)
    used: dict[str, set[str]] = {role: set() for role in allowed}
    for stack, name, task in task_definitions(stacks.values()):
        role = task["ExecutionRoleArn"].removeprefix("import:agent-runtime-").removesuffix("-execution-role")
        for container in task["ContainerDefinitions"]:
            for secret in container.get("Secrets", ()):
                arn = secret["ValueFrom"].rsplit(":", 3)[0].removeprefix("import:")
                used.setdefault(role, set()).add(arn)
                if arn not in allowed.get(role, set()):
                    yield f"{stack}.{name}: {role} may not read {arn}"
        for container in task["ContainerDefinitions"]:
            group = container["LogConfiguration"]["Options"]["awslogs-group"]
            if group != f"/agent-runtime/{role}":
                yield f"{stack}.{name}.{container['Name']}: {role} may not write to {group}"


def spare_rights(everything: list[Stacks]) -> Iterator[str]:
    """Of all ways to deploy: what a role may read and none of its tasks is given."""
    allowed: dict[str, set[str]] = _readable(everything[0])
    used: dict[str, set[str]] = {role: set() for role in allowed}
    for stacks in everything:
        for _, _, task in task_definitions(stacks.values()):
            role = task["ExecutionRoleArn"].removeprefix("import:agent-runtime-").removesuffix("-execution-role")
            for container in task["ContainerDefinitions"]:
                for secret in container.get("Secrets", ()):
                    used[role].add(secret["ValueFrom"].rsplit(":", 3)[0].removeprefix("import:"))
    for role, arns in allowed.items():
        for arn in sorted(arns - used[role]):
            yield f"{role} may read {arn}, which none of its tasks needs"


def _readable(stacks: Stacks) -> dict[str, set[str]]:
    identity = stacks["identity"]
    own = {value: name for name, value in identity.exports.items()}
    roles = {}
    for role in identity.of_type("AWS::IAM::Role").values():
        for policy in role.get("Policies", ()):
            for statement in policy["PolicyDocument"]["Statement"]:
                if statement["Action"] == "secretsmanager:GetSecretValue":
                    arns = {own.get(each, each).removeprefix("import:") for each in statement["Resource"]}
                    roles[role["RoleName"].removeprefix("agent-runtime-").removesuffix("-start")] = arns
    return roles


def rights(stacks: Stacks) -> Iterator[str]:
    """No action on everything, but the one that has no resource; no wildcard action; no rights of an administrator."""
    for name, role in stacks["identity"].of_type("AWS::IAM::Role").items():
        for policy in role.get("Policies", ()):
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                if any("*" in action for action in actions):
                    yield f"identity.{name}: {actions} is more than is needed"
                if statement["Resource"] == "*" and actions != ["ecr:GetAuthorizationToken"]:
                    yield f"identity.{name}: {actions} on everything"
        for arn in role.get("ManagedPolicyArns", ()):
            if "/service-role/AmazonECSInfrastructureRole" not in arn:
                yield f"identity.{name}: {arn} is not of our making"


def security_groups(stacks: Stacks) -> Iterator[str]:
    """Only the load balancer is open to networks; rules name a port and the group that needs it, both ways."""
    network = stacks["network"]
    inward, outward = [], []
    for name, group in network.of_type("AWS::EC2::SecurityGroup").items():
        for rule in group.get("SecurityGroupIngress", ()):
            yield from _inward(f"network.{name}", name, rule)
            inward.append((name, rule))
        if "SecurityGroupEgress" not in group:
            yield f"network.{name}: says nothing of where it may go, which is everywhere"
        for rule in group.get("SecurityGroupEgress", ()):
            everywhere = rule.get("CidrIp") == "0.0.0.0/0"
            if everywhere and (rule["IpProtocol"] != "tcp" or {rule["FromPort"], rule["ToPort"]} - {443, 80}):
                yield f"network.{name}: goes everywhere by more than 443"
    for name, rule in network.of_type("AWS::EC2::SecurityGroupIngress").items():
        group = rule["GroupId"].strip("${}")
        yield from _inward(f"network.{name}", group, rule)
        inward.append((group, rule))
    for rule in network.of_type("AWS::EC2::SecurityGroupEgress").values():
        outward.append((rule["GroupId"], rule["DestinationSecurityGroupId"], rule["FromPort"], rule["ToPort"]))
    taken = {
        (rule["SourceSecurityGroupId"], f"${{{group}}}", rule["FromPort"], rule["ToPort"])
        for group, rule in inward
        if "SourceSecurityGroupId" in rule
    }
    for odd in sorted(taken.symmetric_difference(outward)):
        yield f"network: {odd[0]} to {odd[1]}, ports {odd[2]} to {odd[3]}, is allowed at one end only"


def _inward(place: str, group: str, rule: Properties) -> Iterator[str]:
    if rule["IpProtocol"] != "tcp":
        yield f"{place}: lets in {rule['IpProtocol']}, not tcp"
    elif rule["ToPort"] - rule["FromPort"] > 6:
        yield f"{place}: lets in {rule['FromPort']} to {rule['ToPort']}"
    if "SourceSecurityGroupId" in rule or group == "EndpointGroup":
        return
    if rule["FromPort"] not in PUBLIC.get(group, ()):
        yield f"{place}: lets in a whole network"


def reachable_ports(stacks: Stacks) -> Iterator[str]:
    """What a group lets in from another, some task of that group has as a port; data stores have theirs."""
    listening = {
        "DatabaseGroup": {5432},
        "RedisGroup": {6379},
        "TemporalGroup": {*range(7233, 7240), *range(6933, 6940)},
    }
    listening["KeycloakGroup"] = {7800}  # its cache, between its own tasks
    for _, _, service, task in services(stacks.values()):
        group = service["NetworkConfiguration"]["AwsvpcConfiguration"]["SecurityGroups"][0]
        name = group.removeprefix("import:agent-runtime-").removesuffix("-group").title() + "Group"
        for container in task["ContainerDefinitions"]:
            listening.setdefault(name, set()).update(
                each["ContainerPort"] for each in container.get("PortMappings", ())
            )
    for name, rule in stacks["network"].of_type("AWS::EC2::SecurityGroupIngress").items():
        group = rule["GroupId"].strip("${}")
        if not set(range(rule["FromPort"], rule["ToPort"] + 1)) <= listening.get(group, set()):
            yield f"network.{name}: nothing of {group} listens there"


def encryption(stacks: Stacks) -> Iterator[str]:
    """TLS to each server, checked against a CA that is there; no server that takes less."""
    for container in containers(stacks.values()):
        variables = {each["Name"]: str(each["Value"]) for each in container.definition.get("Environment", ())}
        wanted: dict[str, str] = {}
        if {"DATABASE_URL", "DATABASE_MIGRATION_URL"} & variables.keys():
            wanted |= {"DATABASE_TLS": "verify-full", "DATABASE_CA_FILE": "/run/agent-runtime/database_ca"}
        if "PGHOST" in variables:
            wanted |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/run/agent-runtime/database_ca"}
        if container.name == "temporal":
            wanted |= {"SQL_TLS_ENABLED": "true", "SQL_HOST_VERIFICATION": "true"}
            wanted |= {"TEMPORAL_TLS_REQUIRE_CLIENT_AUTH": "true"}
        for name, value in wanted.items():
            if variables.get(name) != value:
                yield f"{container.place}: {name} is not {value}"
        if not variables.get("REDIS_URL", "rediss://").startswith("rediss://"):
            yield f"{container.place}: REDIS_URL is not rediss://"
        if "sslmode=verify-full" not in variables.get("KC_DB_URL", "sslmode=verify-full"):
            yield f"{container.place}: KC_DB_URL does not verify the server"
        yield from _temporal_identity(container.place, container.name, variables, container.definition)
    yield from _managed_encryption(stacks["data"])
    for name, listener in stacks["services"].of_type("AWS::ElasticLoadBalancingV2::Listener").items():
        if listener["Protocol"] != "HTTPS" and listener["DefaultActions"][0]["Type"] != "redirect":
            yield f"services.{name}: answers without TLS"


def _temporal_identity(place: str, name: str, variables: Mapping[str, str], definition: Properties) -> Iterator[str]:
    if "TEMPORAL_ADDRESS" not in variables or name == "temporal-namespace":
        return
    certificate = {"TEMPORAL_CA_FILE", "TEMPORAL_CLIENT_CERT_FILE", "TEMPORAL_CLIENT_KEY_FILE"} <= variables.keys()
    if not certificate and "TEMPORAL_API_KEY" not in names(definition.get("Secrets", ())):
        yield f"{place}: has neither a certificate nor an API key for Temporal"


def _managed_encryption(data: Stack) -> Iterator[str]:
    for name, group in data.of_type("AWS::RDS::DBParameterGroup").items():
        if group["Parameters"].get("rds.force_ssl") != "1":
            yield f"data.{name}: PostgreSQL takes connections without TLS"
    for name, store in data.of_type("AWS::RDS::DBInstance").items():
        if store.get("StorageEncrypted") is not True or store.get("PubliclyAccessible") is not False:
            yield f"data.{name}: is not encrypted, or public"
    for name, store in data.of_type("AWS::ElastiCache::ReplicationGroup").items():
        if not (store.get("TransitEncryptionEnabled") and store.get("AtRestEncryptionEnabled")):
            yield f"data.{name}: Redis without TLS"
    denied = [policy["PolicyDocument"]["Statement"] for policy in data.of_type("AWS::S3::BucketPolicy").values()]
    if not any(each.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}} for all_ in denied for each in all_):
        yield "data: objects may be fetched without TLS"


def files(stacks: Stacks) -> Iterator[str]:
    """Each file that a variable names is written by the task's first container."""
    for stack, name, task in task_definitions(stacks.values()):
        written = set()
        for container in task["ContainerDefinitions"]:
            given = [*container.get("Environment", ()), *container.get("Secrets", ())]
            written |= {f"/run/agent-runtime/{each[5:].lower()}" for each in names(given) if each.startswith("FILE_")}
        for container in task["ContainerDefinitions"]:
            for variable in container.get("Environment", ()):
                for path in re.findall(r"/run/agent-runtime/\w+", str(variable["Value"])):
                    if path not in written:
                        yield f"{stack}.{name}: {variable['Name']} names {path}, which nobody writes"


def private_files(stacks: Stacks) -> Iterator[str]:
    """A private key is readable for one user, who must be that of the container which is told of it."""
    for stack, name, task in task_definitions(stacks.values()):
        owners = {each["Command"][3] for each in task["ContainerDefinitions"] if each["Name"] == "files"}
        for container in task["ContainerDefinitions"]:
            told = [str(each["Value"]) for each in container.get("Environment", ())]
            user = container.get("User", "").partition(":")[0]
            if user and user not in owners and any(re.fullmatch(r"/run/agent-runtime/\w+_key", each) for each in told):
                yield f"{stack}.{name}.{container['Name']}: its key is readable for {', '.join(owners)}, not {user}"
