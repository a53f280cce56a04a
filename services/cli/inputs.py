"""What is read from files, stdin and `k=v` arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
import yaml

MOST = 8 * 1024 * 1024  # bytes of a file that is meant to be sent as JSON


def read_text(source: str, option: str) -> str:
    """The text of a file, or of stdin for `-`."""
    try:
        data = sys.stdin.buffer.read(MOST + 1) if source == "-" else Path(source).read_bytes()[: MOST + 1]
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"cannot read {source}: {error.strerror}", param_hint=option) from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{source} is not UTF-8 text; upload files as artifacts", param_hint=option) from None
    if len(data) > MOST:
        raise typer.BadParameter(f"{source} is too large; upload it as an artifact", param_hint=option)
    return text


def read_argument(value: str, option: str) -> str:
    """The value itself, `@file` or `-` for stdin."""
    if value == "-":
        return read_text("-", option)
    return read_text(value[1:], option) if value.startswith("@") else value


def run_input(text: str | None, document: str | None) -> Any:
    """The input of a run: a string by `--input`, any JSON value by `--input-json`."""
    if (text is None) == (document is None):
        raise typer.BadParameter("give either --input or --input-json", param_hint="--input")
    if text is not None:
        return read_argument(text, "--input")
    try:
        return json.loads(read_argument(document or "", "--input-json"))
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--input-json") from None


def labels(pairs: Iterable[str]) -> dict[str, str]:
    """`team=support` as a mapping."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{pair!r} is not of the form name=value", param_hint="--label")
        found[name] = value
    return found


def agent_file(source: str) -> dict[str, Any]:
    """The body of a new agent from a YAML (or JSON) file: slug, spec and maybe description."""
    document = yaml_mapping(source)
    unknown = sorted(str(name) for name in set(document) - {"slug", "description", "spec"})
    if unknown or not isinstance(document.get("slug"), str) or not isinstance(document.get("spec"), dict):
        extra = f"; remove {', '.join(unknown)}" if unknown else ""
        raise typer.BadParameter(
            f"{source} must hold slug (a string), spec (a mapping) and maybe description{extra}", param_hint="-f"
        )
    return document


def spec_file(source: str) -> dict[str, Any]:
    """The spec of a new version: a file of a spec alone, or the file of an agent."""
    document = yaml_mapping(source)
    spec = document.get("spec", document)
    if not isinstance(spec, dict):
        raise typer.BadParameter(f"spec in {source} must be a mapping", param_hint="-f")
    return spec


def yaml_mapping(source: str) -> dict[str, Any]:
    """A YAML mapping that JSON can say."""
    try:
        document = yaml.safe_load(read_text(source, "-f"))
        json.dumps(document, allow_nan=False)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{source} is not YAML: {error}", param_hint="-f") from None
    except (TypeError, ValueError, RecursionError) as error:
        hint = "quote dates and the like"
        raise typer.BadParameter(f"{source} holds what JSON cannot say ({error}); {hint}", param_hint="-f") from None
    if not isinstance(document, dict):
        raise typer.BadParameter(f"{source} must hold a mapping", param_hint="-f")
    return document
