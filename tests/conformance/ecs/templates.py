"""Reads CloudFormation templates and evaluates them as far as that needs no AWS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).resolve().parents[3] / "deploy" / "ecs"
# In the order in which they are deployed.
NAMES = ("network", "data", "identity", "jobs", "servers", "services")
GIVEN = {
    "Registry": "registry.example.com/agent-runtime",
    "Version": "1.2.3",
    "PublicUrl": "https://agents.example.com",
    "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/6f1c1a3e-0000-4000-8000-000000000000",
    "ModelProviders": '{"providers": {}}',
}
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Region": "us-east-1",
    "AWS::Partition": "aws",
    "AWS::StackName": "agent-runtime",
    "AWS::URLSuffix": "amazonaws.com",
}
Properties = dict[str, Any]


class NotUnderstood(ValueError):
    """A template uses what is not evaluated here."""


class _Loader(yaml.CSafeLoader):
    """Knows the short forms of the intrinsic functions."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        raise NotUnderstood(f"a node of another kind: {node}")
    return {name: value}


_Loader.add_multi_constructor("!", _tagged)
NOTHING = object()


@dataclass
class Template:
    """One file."""

    name: str
    content: Properties

    @classmethod
    @cache
    def read(cls, name: str) -> Template:
        return cls.parse(name, (DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, name: str, text: str) -> Template:
        return cls(name, yaml.load(text, _Loader))  # noqa: S506 - a safe loader that knows more tags

    @property
    def resources(self) -> dict[str, Properties]:
        found: dict[str, Properties] = self.content["Resources"]
        return found


@dataclass
class Stack:
    """A template with its parameters; what only AWS knows stays as `${NAME.Attribute}`."""

    template: Template
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def resources(self) -> dict[str, Properties]:
        """Those whose condition holds, with every value evaluated."""
        made = {}
        for name, resource in self.template.resources.items():
            if "Condition" not in resource or self._holds(resource["Condition"]):
                made[name] = self.evaluate({key: value for key, value in resource.items() if key != "Condition"})
        return made

    @property
    def exports(self) -> dict[str, Any]:
        outputs = self.template.content.get("Outputs", {})
        return {
            self.evaluate(output["Export"]["Name"]): self.evaluate(output["Value"])
            for output in outputs.values()
            if "Export" in output
        }

    def of_type(self, kind: str) -> dict[str, Properties]:
        return {name: each["Properties"] for name, each in self.resources.items() if each["Type"] == kind}

    def _holds(self, name: str) -> bool:
        return bool(self.evaluate(self.template.content["Conditions"][name]))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        declared = self.template.content.get("Parameters", {})
        if name in declared:
            value = self.parameters.get(name, declared[name].get("Default", GIVEN.get(name)))
            if value is None:
                raise NotUnderstood(f"{self.template.name}: parameter {name} has no value")
            return value
        if name not in self.template.resources:
            raise NotUnderstood(f"{self.template.name}: nothing is called {name}")
        return f"${{{name}}}"

    def evaluate(self, value: Any) -> Any:
        if isinstance(value, list):
            return [each for each in map(self.evaluate, value) if each is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, argument), *_ = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function, argument)
        evaluated = {key: self.evaluate(each) for key, each in value.items()}
        return {key: each for key, each in evaluated.items() if each is not NOTHING}

    def _call(self, function: str, argument: Any) -> Any:
        match function:
            case "Ref":
                return self._ref(argument)
            case "Fn::If":
                return self.evaluate(argument[1] if self._holds(argument[0]) else argument[2])
            case "Fn::GetAtt":
                self._ref(argument[0])
                return f"${{{'.'.join(argument)}}}"
            case "Fn::ImportValue":
                return f"import:{self.evaluate(argument)}"
            case "Fn::Sub":
                return self._substituted(argument)
        return self._computed(function, self.evaluate(argument))

    def _computed(self, function: str, argument: Any) -> Any:
        match function:
            case "Fn::Equals":
                return str(argument[0]) == str(argument[1])
            case "Fn::Not":
                return not argument[0]
            case "Fn::Join":
                return argument[0].join(argument[1])
            case "Fn::Split":
                return [f"{argument[1]}[{number}]" for number in (0, 1)]
            case "Fn::Select" | "Fn::Cidr" | "Fn::GetAZs":
                return f"{function}({argument})"
        raise NotUnderstood(f"{self.template.name}: {function} is not evaluated here")

    def _substituted(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument
        values = {name: self.evaluate(value) for name, value in own.items()}

        def replaced(match: re.Match[str]) -> str:
            name = match[1]
            if name in values:
                return str(values[name])
            return str(self._ref(name)) if "." not in name else f"${{{name}}}"

        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", replaced, text)


@cache
def _stacks(parameters: tuple[tuple[str, Any], ...]) -> dict[str, Stack]:
    return {name: Stack(Template.read(name), dict(parameters)) for name in NAMES}


def stacks(**parameters: Any) -> dict[str, Stack]:
    """Every template of the repository, with these parameters where it declares them."""
    return dict(_stacks(tuple(parameters.items())))
