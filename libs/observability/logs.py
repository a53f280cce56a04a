"""Logs as one JSON object per line, with the trace, tenant and run at hand; never prompts, outputs or keys."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

from libs.observability.context import current

LOUD = ("httpx", "httpcore", "botocore", "boto3", "urllib3", "s3transfer", "openai", "asyncio", "uvicorn.access")


class JsonLines(logging.Formatter):
    """`extra={"fields": {...}}` adds fields of a single line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **current(),
        }
        extra = getattr(record, "fields", None)
        if isinstance(extra, dict):
            line.update(extra)
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _describe(record.exc_info[1])
        return json.dumps(line, default=str)


def _describe(error: BaseException) -> dict[str, object]:
    """Where an error happened and of what kind it is; not its message, which may quote what a customer sent."""
    frames = traceback.extract_tb(error.__traceback__)
    described: dict[str, object] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        described["cause"] = f"{type(cause).__module__}.{type(cause).__qualname__}"
    return described


def configure(service: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every logger of the process to standard error as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True


def warn_of_development(variables: list[str]) -> None:
    """Say loudly that secrets which everybody knows are in use."""
    if variables:
        logging.getLogger(__name__).warning(
            "NOT FOR PRODUCTION: %s hold the secrets for development, which everybody knows; "
            "`agent-runtime env --production` makes secrets of your own",
            ", ".join(variables),
        )
