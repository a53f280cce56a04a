"""From the declarations of a version to tools that can be called; a further kind is a module and a line here."""

from __future__ import annotations

from collections.abc import Sequence

from libs.domain.tool_specs import ArtifactsToolSpec, HttpToolSpec
from libs.domain.tools import Tool, ToolFunction
from libs.tools.artifacts import ArtifactsTool
from libs.tools.egress import Egress
from libs.tools.http import HttpTool

Tools = dict[str, tuple[Tool, ToolFunction]]


class RepeatedFunction(ValueError):
    """Two tools of a version offer a function of the same name."""


def build_tools(declarations: Sequence[HttpToolSpec | ArtifactsToolSpec], egress: Egress) -> Tools:
    """Function name → the tool to call and what it offers.

    Raises:
        RepeatedFunction: a name is offered twice.
    """
    tools: Tools = {}
    for declaration in declarations:
        tool: Tool = HttpTool(declaration, egress) if isinstance(declaration, HttpToolSpec) else ArtifactsTool()
        for function in tool.functions:
            if function.name in tools:
                raise RepeatedFunction(f"the function {function.name} is offered by more than one tool")
            tools[function.name] = (tool, function)
    return tools
