"""Which version of the platform this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("agent-runtime-platform")
    except PackageNotFoundError:
        return "0.0.0+uninstalled"


VERSION = _installed()
