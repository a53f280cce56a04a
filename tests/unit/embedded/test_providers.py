"""The providers file of a stack, and which servers are its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.embedded.failures import StateRefused
from deploy.embedded.ports import Ports
from deploy.embedded.providers import local_provider, providers_file, write_providers
from deploy.embedded.servers import choose_servers
from deploy.embedded.state import StateDirectory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.open()
    return directory


def test_the_local_model_joins_the_operators_own(state: StateDirectory) -> None:
    (state.path / "providers.yaml").write_text("providers: {acme: {base_url: 'https://models.example/v1', models: {}}}")
    write_providers(state, {}, local_provider(15_000))
    providers = yaml.safe_load(providers_file(state, {}).read_text())["providers"]
    assert set(providers) == {"acme", "local"}
    assert providers["local"]["base_url"] == "http://127.0.0.1:15000/v1"


def test_a_given_file_is_used_as_it_is(state: StateDirectory, tmp_path: Path) -> None:
    given = tmp_path / "given.yaml"
    given.write_text("providers: {}")
    environment = {"MODEL_PROVIDERS_FILE": str(given)}
    write_providers(state, environment, {})
    assert providers_file(state, environment) == given


@pytest.mark.parametrize("content", ["providers: [", "- a", "other: {}"])
def test_a_file_that_is_no_list_of_providers_is_told(state: StateDirectory, content: str) -> None:
    (state.path / "providers.yaml").write_text(content)
    with pytest.raises(StateRefused, match=r"providers\.yaml"):
        write_providers(state, {}, {})


def test_a_server_that_the_environment_names_is_not_started(state: StateDirectory, tmp_path: Path) -> None:
    outside = {
        "DATABASE_URL": "postgresql://app@db.example:5432/runtime",
        "DATABASE_PASSWORD_FILE": "/run/secrets/db",
        "OIDC_ISSUER": "https://id.example/realms/a",
        "OIDC_JWKS_URL": "https://id.example/realms/a/certs",
        "HOME": "/root",
    }
    servers = choose_servers(state, Ports(tmp_path / "ports.json"), outside)
    assert [server.name for server in servers.own()] == ["valkey", "object-store", "temporal"]
    settings = servers.environment(None, 3, "queue")
    assert {name: settings[name] for name in outside if name != "HOME"} == {
        name: value for name, value in outside.items() if name != "HOME"
    }
    assert "HOME" not in settings
    assert settings["REDIS_URL"].endswith("/3")
    assert settings["TEMPORAL_TASK_QUEUE"] == "queue"
    assert not [
        value
        for name, value in settings.items()
        if name.endswith("_URL") and "@" in value and ":" in value.split("@")[0][13:]
    ]
    assert servers.describe_rest()["postgres"]["status"] == "outside"
