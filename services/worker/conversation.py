"""The conversation that is sent to the model: instructions, input, and what the log says."""

from __future__ import annotations

from typing import Any

from libs.domain.texts import dump
from services.worker.journal import View


def conversation(view: View, log_messages: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Messages in the OpenAI format. A turn's conversation is a prefix of the next one's."""
    asked = view.input if isinstance(view.input, str) else dump(view.input)
    opening: list[dict[str, Any]] = [{"role": "user", "content": asked}]
    if view.version.spec.instructions:
        opening.insert(0, {"role": "system", "content": view.version.spec.instructions})
    return opening + (view.log.messages if log_messages is None else log_messages)
