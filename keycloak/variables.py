"""The variables that a realm file names, and whether their values are set and harmless.

Keycloak puts values into the file as raw text: an unset variable stays as it is written (`${NAME}` is then the
password), and a quote ends the string it stands in and adds settings of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

VARIABLE = re.compile(r"\$\{([^}]*)\}")
NAME = re.compile(r"[A-Z][A-Z0-9_]*")
SECRETS = ("_SECRET", "_PASSWORD")
SHORTEST_SECRET = 12
# Stands in every secret that docker-compose.yml has for development.
DEVELOPMENT_MARK = "development-only"
LONGEST_VALUE = 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Unfit(ValueError):
    """Values that must not reach Keycloak; `flaws` says which and why, never what they are."""

    def __init__(self, flaws: list[str]) -> None:
        super().__init__("\n".join(flaws))
        self.flaws = flaws


def load(path: Path, environment: Mapping[str, str]) -> Any:
    """The file's document with its values in place.

    Raises:
        Unfit: a variable is unset or harmful, or the file is no JSON.
    """
    text = path.read_text(encoding="utf-8")
    flaws = [f"{path.name}: {flaw}" for flaw in flaws_of(text, environment)]
    if flaws:
        raise Unfit(flaws)
    return filled(json.loads(text), environment)


def flaws_of(text: str, environment: Mapping[str, str]) -> list[str]:
    """Why this file must not be imported in this environment; empty when it may be."""
    try:
        document = json.loads(text)
    except ValueError as error:
        return [f"it is no JSON: {error}"]
    names = sorted({match[1] for match in VARIABLE.finditer(text)})
    flaws = [flaw for name in names for flaw in _flaws(name, environment)]
    if not flaws and _as_keycloak_does(text, environment) != filled(document, environment):
        flaws.append("the values change more than the strings they stand in")
    return flaws


def filled(value: Any, environment: Mapping[str, str]) -> Any:
    """A document with variables replaced inside its strings, and nowhere else."""
    if isinstance(value, str):
        return VARIABLE.sub(_replacement(environment), value)
    if isinstance(value, list):
        return [filled(item, environment) for item in value]
    if isinstance(value, dict):
        return {name: filled(item, environment) for name, item in value.items()}
    return value


def with_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, and under `X` what stands in the file that `X_FILE` names."""
    found = dict(environment)
    for variable, path in environment.items():
        name = variable.removesuffix("_FILE")
        if name != variable and name.endswith(SECRETS) and path and not environment.get(name):
            try:
                found[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise Unfit([f"{variable} names {path}, which cannot be read: {type(error).__name__}"]) from None
    return found


def in_production(environment: Mapping[str, str]) -> bool:
    """Whether nothing that is meant for development may be used."""
    return environment.get("DEPLOYMENT") == "production"


def _as_keycloak_does(text: str, environment: Mapping[str, str]) -> Any:
    try:
        return json.loads(VARIABLE.sub(_replacement(environment), text))
    except ValueError:
        return None


def _replacement(environment: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    return lambda match: environment.get(match[1]) or match[0]


def _flaws(name: str, environment: Mapping[str, str]) -> list[str]:
    if not NAME.fullmatch(name):
        return [f"${{{name}}} is no name of a variable (and none has a default)"]
    value = environment.get(name, "")
    if not value:
        return [f"{name} is not set"]
    flaws = [f"{name} {flaw}" for flaw in _flaws_of_text(value)]
    if name.endswith(SECRETS) and len(value) < SHORTEST_SECRET:
        flaws.append(f"{name} is shorter than {SHORTEST_SECRET} characters")
    if name.endswith(SECRETS) and in_production(environment) and DEVELOPMENT_MARK in value:
        flaws.append(f"{name} is the secret for development, which DEPLOYMENT=production refuses")
    if name.endswith("_URL") and (flaw := _flaw_of_url(value)):
        flaws.append(f"{name} {flaw}")
    return flaws


def _flaws_of_text(value: str) -> list[str]:
    flaws = []
    if '"' in value or "\\" in value:
        flaws.append("holds a quote or a backslash, which would change the realm's settings")
    if not value.isprintable():
        flaws.append("holds a control character, such as a line break")
    if "${" in value:
        flaws.append("holds ${, which would be replaced again")
    if value != value.strip():
        flaws.append("begins or ends with a blank")
    if len(value) > LONGEST_VALUE:
        flaws.append(f"is longer than {LONGEST_VALUE} characters")
    return flaws


def _flaw_of_url(value: str) -> str | None:
    """A redirect goes there with a code that is worth a login: exactly one place, and not in the clear."""
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        return "is no URL"
    if url.scheme not in ("http", "https") or not host or url.username or url.query or url.fragment or "*" in value:
        return "is not http(s)://host[:port][/path] without user, query, fragment or *"
    if url.scheme == "http" and host not in LOOPBACK and not host.endswith(".localhost"):
        return "is http, which is for this machine only; use https"
    return "ends with a slash" if value.endswith("/") else None
