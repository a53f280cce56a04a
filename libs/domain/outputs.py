"""What a model wrote, held against what was asked: arguments of calls and the final output."""

from __future__ import annotations

import json
import math
from typing import Any

from libs.domain.schemas import mismatch
from libs.domain.texts import clean

MAX_REJECTIONS = 3  # answers in a row that are given back to the model


class Unacceptable(Exception):
    """The text does not fit; the message is for the model."""


def parse_arguments(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call.

    Raises:
        Unacceptable: not a JSON object, or not what the function's schema asks for.
    """
    arguments = _parse(text or "{}", "The arguments are")
    if not isinstance(arguments, dict):
        raise Unacceptable("The arguments are not a JSON object.")
    _check(arguments, schema, "The arguments do")
    return arguments


def parse_output(text: str, schema: dict[str, Any] | None) -> Any:
    """The run's output: the text itself, or the JSON value that the schema asks for.

    Raises:
        Unacceptable: not JSON, or not what the schema asks for.
    """
    if schema is None:
        return text
    value = _parse(_without_fence(text), "The answer is")
    _check(value, schema, "The answer does")
    return value


def _without_fence(text: str) -> str:
    """Models like to put JSON into a Markdown code block."""
    lines = text.strip().split("\n")
    if len(lines) >= 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return text


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:40]} is too large a number")
    return value


def _parse(text: str, subject: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Unacceptable(f"{subject} not valid JSON: {error}.") from error


def _check(value: Any, schema: dict[str, Any], subject: str) -> None:
    if problem := mismatch(value, schema):
        raise Unacceptable(clean(f"{subject} not fit the schema: {problem}")[0])  # it can quote names of the value
