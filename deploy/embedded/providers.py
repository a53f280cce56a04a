"""The providers file a stack gives to its workers: the operator's own, and the local model when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.embedded.failures import StateRefused
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.state import StateDirectory, write_private
from deploy.local_model import CONTEXT_WINDOW, LOCAL_MODEL

LOCAL_PROVIDER = "local"


def local_provider(port: int) -> dict[str, Any]:
    """The entry of the model that `deploy.local_model` is."""
    price = {"input_price": "0", "output_price": "0", "context_window": CONTEXT_WINDOW}
    return {LOCAL_PROVIDER: {"base_url": f"http://{LOOPBACK}:{port}/v1", "models": {LOCAL_MODEL: price}, "local": True}}


def providers_file(state: StateDirectory, environment: Mapping[str, str]) -> Path:
    """What a stack's programs get as MODEL_PROVIDERS_FILE."""
    written = state.run / "providers.yaml"
    given = environment.get("MODEL_PROVIDERS_FILE")
    return Path(given) if given and not written.exists() else written


def write_providers(state: StateDirectory, environment: Mapping[str, str], added: Mapping[str, Any]) -> None:
    """Write that file: `providers.yaml` of the state directory plus what is added; a given file is left alone."""
    given = environment.get("MODEL_PROVIDERS_FILE")
    written = state.run / "providers.yaml"
    written.unlink(missing_ok=True)
    if given and not added:
        return
    providers = {**_read(Path(given) if given else state.path / "providers.yaml"), **added}
    write_private(written, yaml.safe_dump({"providers": providers}, sort_keys=False))


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise StateRefused(f"{path} cannot be read as YAML: {error}") from error
    providers = content.get("providers") if isinstance(content, dict) else None
    if not isinstance(providers, dict):
        raise StateRefused(f"{path} has no mapping `providers`")
    return providers
