"""Log lines are JSON, know what they are about, and quote nobody."""

from __future__ import annotations

import json
import logging

from libs.observability.context import bound
from libs.observability.logs import JsonLines


def line(message: str, error: Exception | None = None) -> dict[str, object]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, message, (), info)
    found: dict[str, object] = json.loads(JsonLines("api").format(record))
    return found


def test_a_line_carries_what_is_at_hand() -> None:
    with bound(trace_id="t", tenant_id="a"), bound(run_id="r", tenant_id=None):
        found = line("hello")
    assert (found["trace_id"], found["tenant_id"], found["run_id"]) == ("t", "a", "r")
    assert (found["message"], found["level"], found["service"]) == ("hello", "warning", "api")
    assert "run_id" not in line("later")


def test_the_message_of_an_error_is_not_logged() -> None:
    try:
        raise ValueError("prompt of a customer")
    except ValueError as error:
        found = line("failed", error)
    assert "prompt" not in json.dumps(found)
    assert found["error"]["type"] == "builtins.ValueError"  # type: ignore[index]  # an object
